"""How much of a window the feed was heard, by the marks that the producer wrote. Pure.

    marks    up(at 100)      alive(heard 400)   alive(heard 700)   down(heard 750)        up(at 900)
    heard    ├───────────────────────────────────────────────────────┤                    ├───▶
             100                                                    750                   900

A connection covers the channels it was subscribed to, from its `up` to the last moment that anything arrived.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from processors.frames import FeedMark

#: A connection that was not heard for a day is gone: a later mark of it begins anew.
SILENT_MS_MAX = 86_400_000
#: How far the clocks behind watermark and marks may be apart.
_CLOCKS_MS_MAX = 3_600_000


class Span(msgspec.Struct, array_like=True):
    """Time during which one connection was heard, `[from_ms, to_ms)`, for some channels."""

    connection: str
    from_ms: int
    to_ms: int
    growing: bool  # whether the connection's next mark may extend it
    channels: frozenset[str]


class Coverage(msgspec.Struct):
    """The spans of one partition. Every partition is sent every mark, so each knows all it needs."""

    marked: bool = False  # whether any mark was seen: without one, nothing can be said
    spans: list[Span] = []

    def add(self, mark: FeedMark) -> None:
        """Take one mark."""
        self.marked = True
        heard_at_ms = min(mark.heard_at_ms, mark.at_ms)  # no mark can know of what came after it
        growing = [span for span in self.spans if span.growing and span.connection == mark.connection]
        silent_ms = mark.at_ms - max((span.to_ms for span in growing), default=0)
        if mark.kind == "up" or not growing or silent_ms > SILENT_MS_MAX:
            self._end(growing)
            if mark.kind != "down":
                self._begin(mark, frozenset(mark.channels), mark.at_ms)
            return
        if mark.kind == "alive":
            self._follow_channels(mark, growing)
        for span in growing:
            span.to_ms = max(span.to_ms, heard_at_ms)
        if mark.kind == "down":
            self._end(growing)

    def share(self, channel: str, start_ms: int, end_ms: int) -> float | None:
        """Return the covered share of `[start_ms, end_ms)` for a channel, 0 to 1; None where there were no marks."""
        if not self.marked:
            return None
        clipped = sorted(
            (max(span.from_ms, start_ms), min(span.to_ms, end_ms))
            for span in self.spans
            if span.from_ms < end_ms and span.to_ms > start_ms and channel in span.channels
        )
        return covered_ms(clipped) / (end_ms - start_ms)

    def forget(self, before_ms: int) -> None:
        """Drop the spans that ended before `before_ms`: no window that is still open reaches back to them.

        A producer that was killed never says `down`, so those that may grow are dropped too, once no mark could extend
        them any more.
        """
        kept_ms = SILENT_MS_MAX + _CLOCKS_MS_MAX
        self.spans = [span for span in self.spans if span.to_ms > before_ms - (kept_ms if span.growing else 0)]

    def _begin(self, mark: FeedMark, channels: frozenset[str], from_ms: int) -> None:
        self.spans.append(Span(mark.connection, from_ms, from_ms, True, channels))

    def _end(self, spans: Iterable[Span]) -> None:
        for span in spans:
            span.growing = False

    def _follow_channels(self, mark: FeedMark, growing: Sequence[Span]) -> None:
        """A subscription that changed while connected: what is new begins now, what is gone ended when last heard."""
        now, before = frozenset(mark.channels), frozenset[str]().union(*(span.channels for span in growing))
        if now == before:
            return
        for span in growing:
            gone = span.channels - now
            if gone:
                self.spans.append(Span(span.connection, span.from_ms, span.to_ms, False, gone))
                span.channels &= now
        if now - before:
            self._begin(mark, now - before, mark.at_ms)


def covered_ms(intervals: Sequence[tuple[int, int]]) -> int:
    """Return the length of the union of intervals that are sorted by their start.

    >>> covered_ms([(0, 10), (5, 20), (30, 40)])
    30
    """
    total, reached = 0, -(2**63)
    for start, end in intervals:
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def encode_coverage(coverage: Coverage) -> bytes:
    """Return the coverage as a table row, the same bytes for the same spans."""
    plain: list[Any] = [[s.connection, s.from_ms, s.to_ms, s.growing, sorted(s.channels)] for s in coverage.spans]
    return msgspec.json.encode([coverage.marked, plain])


def decode_coverage(row: bytes) -> Coverage:
    """Read a table row."""
    marked, spans = msgspec.json.decode(row, type=tuple[bool, list[Span]])
    return Coverage(marked, spans)
