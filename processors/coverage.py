"""How much of a window the feed was heard, by the marks that the producer wrote. Pure.

    marks    up(at 100)      alive(heard 400)   alive(heard 700)   down(heard 750)        up(at 900)
    heard    ├───────────────────────────────────────────────────────┤                    ├───▶
             100                                                    750                   900

A connection covers the channels it was subscribed to, from its `up` to the last moment that anything arrived. Where no
connection covers a channel that was covered before, there is a gap; it is told once marks of its end can no longer come
late, so that the connections of several producers make gaps only together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from processors.frames import FeedMark
from schemas.channels import canonical_name

#: A connection that was not heard for a day is gone: a later mark of it begins anew.
SILENT_MS_MAX = 86_400_000
#: How far the clocks behind watermark and marks may be apart.
_CLOCKS_MS_MAX = 3_600_000

_NEVER_MS = -(2**62)

#: Why a connection is heard no more, where no `down` says it.
WITHOUT_A_WORD = "the producer said no more"
NOT_SUBSCRIBED = "the channel was no longer subscribed"


class Span(msgspec.Struct, array_like=True):
    """Time during which one connection was heard, `[from_ms, to_ms)`, for some channels."""

    connection: str
    from_ms: int
    to_ms: int
    growing: bool  # whether the connection's next mark may extend it
    channels: frozenset[str]
    group: str = ""  # the redundant group that the connection belongs to
    why: str = WITHOUT_A_WORD  # what ended it, once it does not grow


class Gap(NamedTuple):
    """Time in which no connection heard these channels, `[from_ms, to_ms)`; `why` the one that did heard no more."""

    from_ms: int
    to_ms: int
    channels: tuple[str, ...]
    why: str


class Coverage(msgspec.Struct):
    """The spans of one partition. Every partition is sent every mark, so each knows all it needs."""

    marked: bool = False  # whether any mark was seen: without one, nothing can be said
    spans: list[Span] = []
    told_to_ms: int = _NEVER_MS  # gaps that end up to here were told

    def add(self, mark: FeedMark, group: str = "", why: str = WITHOUT_A_WORD) -> None:
        """Take one mark, and what its headers say."""
        self.marked = True
        channels = frozenset(map(canonical_name, mark.channels))
        heard_at_ms = min(mark.heard_at_ms, mark.at_ms)  # no mark can know of what came after it
        growing = [span for span in self.spans if span.growing and span.connection == mark.connection]
        silent_ms = mark.at_ms - max((span.to_ms for span in growing), default=0)
        if mark.kind == "up" or not growing or silent_ms > SILENT_MS_MAX:
            self._end(growing, WITHOUT_A_WORD)
            if mark.kind != "down":
                self._begin(mark, channels, group)
            return
        if mark.kind == "alive":
            self._follow_channels(mark, channels, growing)
        for span in growing:
            span.to_ms = max(span.to_ms, heard_at_ms)
        if mark.kind == "down":
            self._end(growing, why)

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

    def gaps(self, to_ms: int) -> list[Gap]:
        """Return the gaps that end after those told before and up to `to_ms`: all marks of that time have come."""
        if to_ms <= self.told_to_ms:
            return []
        begun = [span for span in self.spans if self.told_to_ms < span.from_ms <= to_ms]
        self.told_to_ms = to_ms
        found: defaultdict[tuple[int, int, str], set[str]] = defaultdict(set)
        for span in begun:
            for channel in span.channels:
                last = self._last_heard(channel, span.from_ms)
                if last is not None and last.to_ms < span.from_ms:
                    found[last.to_ms, span.from_ms, last.why].add(channel)
        return [Gap(begin, end, tuple(sorted(found[begin, end, why])), why) for begin, end, why in sorted(found)]

    def forget(self, before_ms: int) -> None:
        """Drop the spans that ended before `before_ms`: no window that is still open reaches back to them.

        A producer that was killed never says `down`, so those that may grow are dropped too, once no mark could extend
        them any more. The last span of each channel is kept, as a gap may begin there.
        """
        before_ms = min(before_ms, self.told_to_ms)
        kept_ms = SILENT_MS_MAX + _CLOCKS_MS_MAX
        kept = [span.to_ms > before_ms - (kept_ms if span.growing else 0) for span in self.spans]
        if not all(kept):
            last = {channel: span for span in sorted(self.spans, key=_end_of) for channel in span.channels}
            needed = {id(span) for span in last.values()}
            self.spans = [s for s, stays in zip(self.spans, kept, strict=True) if stays or id(s) in needed]

    def _last_heard(self, channel: str, before_ms: int) -> Span | None:
        """Return, of the spans that began before then, the one in which the channel was heard last."""
        heard = (span for span in self.spans if span.from_ms < before_ms and channel in span.channels)
        return max(heard, key=_end_of, default=None)

    def _begin(self, mark: FeedMark, channels: frozenset[str], group: str) -> None:
        self.spans.append(Span(mark.connection, mark.at_ms, mark.at_ms, True, channels, group))

    def _end(self, spans: Iterable[Span], why: str) -> None:
        for span in spans:
            span.growing, span.why = False, why

    def _follow_channels(self, mark: FeedMark, now: frozenset[str], growing: Sequence[Span]) -> None:
        """A subscription that changed while connected: what is new begins now, what is gone ended when last heard."""
        before = frozenset[str]().union(*(span.channels for span in growing))
        if now == before:
            return
        group = growing[0].group
        for span in growing:
            gone = span.channels - now
            if gone:
                left = Span(span.connection, span.from_ms, span.to_ms, False, gone, group, NOT_SUBSCRIBED)
                self.spans.append(left)
                span.channels &= now
        if now - before:
            self._begin(mark, now - before, group)


def _end_of(span: Span) -> int:
    return span.to_ms


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
    plain: list[Any] = [
        [s.connection, s.from_ms, s.to_ms, s.growing, sorted(s.channels), s.group, s.why] for s in coverage.spans
    ]
    return msgspec.json.encode([coverage.marked, plain, coverage.told_to_ms])


def decode_coverage(row: bytes) -> Coverage:
    """Read a table row."""
    return Coverage(*msgspec.json.decode(row, type=tuple[bool, list[Span], int]))
