"""Records that several connections of one redundant group heard, counted once. Pure.

CoinGlass gives a record no id. So records are told apart by all they say, and of those that say the same, as many count
as the connection heard that heard most of them:

    connection a    r  r     s                 two prints may be alike: r came twice
    connection b          r     s  r  t
    counted         r  r     s        t

Only connections that were up together are held against each other: what two of them heard one after the other are
different prints. What was heard is remembered for as long as a window that it falls into is open; a record that comes
later is late, whether it is the first of its kind or not.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import msgspec

from processors.coverage import Span
from processors.frames import FrameRecord
from processors.windows import WindowSize

#: What is remembered is forgotten, and stored, a stretch of event time at a time.
STRETCH_MS = 1_000
#: A connection that says no more may still be up for so long: the longest time between two marks.
SILENT_MS_MAX = 60_000

_DIGEST_BYTES = 8
_encode = msgspec.msgpack.encode

#: By connection, how often it heard each record, by digest.
Heard = dict[str, dict[bytes, int]]


class Doubles:
    """What the connections of redundant groups heard, in one partition."""

    def __init__(self, sizes: Iterable[WindowSize]) -> None:
        self._sizes = tuple(sizes)
        self.possible = False  # whether a connection belongs to a group at all
        self._spans: Sequence[Span] = ()
        self._twins: dict[str, frozenset[str] | None] = {}  # by connection, as far as they were asked for
        self._heard: dict[int, Heard] = {}  # by the beginning of the stretch, UTC ms
        self._changed: set[int] = set()
        self._looked_at_ms = 0  # the watermark when stretches were last looked through

    def follow(self, spans: Sequence[Span]) -> None:
        """Look at the connections anew; after every mark."""
        self._spans = spans
        self._twins.clear()
        self.possible = any(span.group for span in spans)

    def first_heard(
        self, channel: str, items: Sequence[FrameRecord], connection: str, watermark_ms: int
    ) -> Sequence[FrameRecord]:
        """Return what of a frame's records no other connection of the group of its own has brought already."""
        if connection not in self._twins:
            self._twins[connection] = twins_of(self._spans, connection)
        twins = self._twins[connection]
        if twins is None:
            return items
        first = []
        for item in items:
            stretch_ms = item.time - item.time % STRETCH_MS
            if self._is_over(stretch_ms, watermark_ms):
                first.append(item)
                continue
            heard = self._heard.setdefault(stretch_ms, {})
            self._changed.add(stretch_ms)
            mine, digest = heard.setdefault(connection, {}), _digest(channel, item)
            count = mine[digest] = mine.get(digest, 0) + 1
            if all(heard[twin].get(digest, 0) < count for twin in twins if twin in heard):
                first.append(item)
        return first

    def take(self, watermark_ms: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield (stretch, row) for what changed since the last call; None for a stretch that is over."""
        if watermark_ms >= self._looked_at_ms + STRETCH_MS:
            self._looked_at_ms = watermark_ms
            for stretch_ms in [ms for ms in self._heard if self._is_over(ms, watermark_ms)]:
                del self._heard[stretch_ms]
                self._changed.discard(stretch_ms)
                yield stretch_ms, None
        for stretch_ms in sorted(self._changed):
            yield stretch_ms, _row(self._heard[stretch_ms])
        self._changed.clear()

    def restore(self, stretch_ms: int, row: bytes) -> None:
        """Take up a row again."""
        self._heard[stretch_ms] = {
            connection: _counted(digests)
            for connection, digests in msgspec.json.decode(row, type=dict[str, bytes]).items()
        }

    def _is_over(self, stretch_ms: int, watermark_ms: int) -> bool:
        """Whether no record of the stretch falls into a window that is still open."""
        last_ms = stretch_ms + STRETCH_MS - 1
        return all(size.start_of(last_ms) + size.ms <= watermark_ms for size in self._sizes)


def twins_of(spans: Sequence[Span], connection: str) -> frozenset[str] | None:
    """Return the connections of a connection's group that were up while it was; None if it belongs to no group."""
    own = [span for span in spans if span.connection == connection and span.group]
    if not own:
        return None
    return frozenset(
        other.connection
        for other in spans
        if other.group == own[0].group
        and other.connection != connection
        and any(span.from_ms < _end_ms(other) and other.from_ms < _end_ms(span) for span in own)
    )


def _end_ms(span: Span) -> int:
    return span.to_ms + (SILENT_MS_MAX if span.growing else 0)


def _digest(channel: str, item: FrameRecord) -> bytes:
    said = (channel, item.baseAsset, item.exName, item.price, item.side, item.symbol, item.time, item.volUsd)
    return blake2b(_encode(said), digest_size=_DIGEST_BYTES).digest()


def _row(heard: Heard) -> bytes:
    """Return a stretch as a table row: by connection its digests, each as often as it was heard."""
    return msgspec.json.encode(
        {
            connection: b"".join(digest * count for digest, count in counts.items())
            for connection, counts in heard.items()
        }
    )


def _counted(digests: bytes) -> dict[bytes, int]:
    counts: dict[bytes, int] = {}
    for at in range(0, len(digests), _DIGEST_BYTES):
        digest = digests[at : at + _DIGEST_BYTES]
        counts[digest] = counts.get(digest, 0) + 1
    return counts
