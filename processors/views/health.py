"""How the group is, as far as its committed rows and its assignment tell. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from processors.coverage import Span, decode_coverage
from processors.rows import counts_key, coverage_key, decode_counts, watermark_key
from processors.views.board import Board

#: A connection that was not heard for so long is not called up, whatever it said last: marks come once a second.
HEARD_MS_MAX = 10_000
#: Connections that are told of, those heard last first; beyond these only such as were the last to hear a channel.
CONNECTIONS_MAX = 20


class PartitionState(NamedTuple):
    """What is known of one source partition, besides its rows."""

    topic: str
    partition: int
    owner: str | None  # its worker's web address
    recovering: bool  # whether its rows are not known yet, or it is being handed over
    lag: int | None
    stale_ms: int | None  # how old its rows are, None where that is not known yet


def group_health(board: Board, states: Iterable[PartitionState], now_ms: int) -> dict[str, Any]:
    """Return the `health` event's data."""
    states = sorted(states)
    return {
        "at_ms": now_ms,
        "members": _members(states),
        "partitions": [{**s._asdict(), "watermark_ms": watermark_ms(board, s.topic, s.partition)} for s in states],
        "feed": _feed(board, states, now_ms),
        "counts": _counts(board, states),
    }


def watermark_ms(board: Board, topic: str, partition: int) -> int | None:
    """Return a partition's watermark, None before the first."""
    row = board.fact((topic, partition), watermark_key(partition))
    if row is None:
        return None
    watermark: int = msgspec.json.decode(row)[0]
    return watermark if watermark > 0 else None


def _members(states: Iterable[PartitionState]) -> list[dict[str, Any]]:
    sources: dict[str, list[tuple[str, int]]] = {}
    for state in states:
        if state.owner is not None:
            sources.setdefault(state.owner, []).append((state.topic, state.partition))
    return [{"url": url, "sources": owned} for url, owned in sorted(sources.items())]


def _feed(board: Board, states: Iterable[PartitionState], now_ms: int) -> list[dict[str, Any]]:
    """Return the feed's connections; every partition is sent every mark, so the one that heard last is right."""
    newest: dict[str, Span] = {}
    channels: dict[str, set[str]] = {}
    for state in states:
        row = board.fact((state.topic, state.partition), coverage_key(state.partition))
        for span in decode_coverage(row).spans if row is not None else ():
            last = newest.setdefault(span.connection, span)
            if span.to_ms > last.to_ms or (span.to_ms == last.to_ms and not span.growing):
                newest[span.connection] = span
            if span.growing:
                channels.setdefault(span.connection, set()).update(span.channels)
    feed: list[dict[str, Any]] = []
    told_of: set[str] = set()
    for connection, span in sorted(newest.items(), key=lambda of: (-of[1].to_ms, of[0])):
        heard = channels.get(connection) or span.channels
        if len(feed) >= CONNECTIONS_MAX and told_of.issuperset(heard):
            continue
        told_of.update(heard)
        feed.append(
            {
                "connection": connection,
                "up": span.growing and now_ms - span.to_ms <= HEARD_MS_MAX,
                "heard_at_ms": span.to_ms,
                "channels": sorted(heard),
            }
        )
    return feed


def _counts(board: Board, states: Iterable[PartitionState]) -> dict[str, Any]:
    """Return the sums of what the pipelines counted since their state began."""
    sums: dict[str, int] = {"frames": 0, "records": 0, "late": 0, "finals": 0, "unknown-fields": 0}
    for state in states:
        row = board.fact((state.topic, state.partition), counts_key(state.partition))
        for name, count in _decoded(row).items():
            sums[name] = sums.get(name, 0) + count
    rejected = {name.removeprefix("rejected/"): sums.pop(name) for name in sorted(sums) if name.startswith("rejected/")}
    return {**sums, "rejected": rejected}


def _decoded(row: bytes | None) -> Mapping[str, int]:
    return {} if row is None else decode_counts(row)
