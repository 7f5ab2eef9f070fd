"""Feed marks: what the raw topics say of the feed itself, so that quiet and missing can be told apart. Pure.

A connection covers its channels from an `up` mark's `at_ms` to the largest `heard_at_ms` of the marks after it. A frame
that is dropped while the connection lives ends that stretch with a `down`; the next that is kept begins another:

    received   f1   f2   f3   f4   f5        (f3 and f4 do not fit)
    published  f1   f2   down up   f5
                         │    └ at_ms = f5's receive time
                         └ heard_at_ms = f2's receive time
"""

from collections.abc import Sequence

import msgspec

from producer.entries import MarkEntry
from schemas.records import json_struct

_FeedMark = json_struct("feed_mark", strict=True)


def feed_mark(kind: str, at_ms: int, heard_at_ms: int, connection: str, channels: Sequence[str]) -> MarkEntry:
    """Return a mark as an entry: JSON, with the fields of `feed_mark.avsc`."""
    return MarkEntry(msgspec.json.encode(_FeedMark(kind, at_ms, heard_at_ms, connection, channels)), at_ms)


class Stretch:
    """One connection's marks. `covered` says whether, by the marks so far, nothing is missing right now."""

    def __init__(self, connection: str, channels: Sequence[str], mark_every_ms: int) -> None:
        self._connection = connection
        self._channels = tuple(channels)
        self._mark_every_ms = mark_every_ms
        self._due_at_ms = 0
        self._heard_at_ms = 0
        self.covered = False

    def heard(self, now_ms: int) -> None:
        """Take note that something arrived, and was kept."""
        if now_ms > self._heard_at_ms:
            self._heard_at_ms = now_ms

    def up(self, now_ms: int) -> MarkEntry:
        """Begin a stretch: subscribed, and what arrives from now on is kept."""
        self.covered = True
        self._due_at_ms = now_ms + self._mark_every_ms
        self.heard(now_ms)
        return self._mark("up", now_ms)

    def alive_due(self, now_ms: int) -> bool:
        """Tell whether it is time for the next `alive`."""
        return self.covered and now_ms >= self._due_at_ms

    def alive(self, now_ms: int) -> MarkEntry:
        """Carry the stretch on, up to the last moment anything arrived; the rhythm is kept though a tick comes late."""
        on_time_ms = self._due_at_ms + self._mark_every_ms
        self._due_at_ms = on_time_ms if on_time_ms > now_ms else now_ms + self._mark_every_ms
        return self._mark("alive", now_ms)

    def down(self, now_ms: int) -> MarkEntry:
        """End the stretch where something last arrived and was kept."""
        self.covered = False
        return self._mark("down", now_ms)

    def _mark(self, kind: str, now_ms: int) -> MarkEntry:
        return feed_mark(kind, now_ms, self._heard_at_ms, self._connection, self._channels)
