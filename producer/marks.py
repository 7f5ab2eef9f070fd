"""Feed marks: what the raw topics say of the feed itself, so that quiet and missing can be told apart. Pure.

A connection covers its channels from an `up` mark's `at_ms` to the largest `heard_at_ms` of the marks after it. A frame
that is dropped while the connection lives ends that stretch with a `down`; the next that is kept begins another:

    received   f1   f2   f3   f4   f5        (f3 and f4 do not fit)
    published  f1   f2   down up   f5
                         │    └ at_ms = f5's receive time
                         └ heard_at_ms = f2's receive time

Beside its value a mark has headers: `group`, if the producer belongs to one, and of a `down`, `why` in words.
"""

from collections.abc import Sequence

import msgspec

from producer.entries import MarkEntry
from schemas.records import json_struct
from schemas.topics import HEADER_GROUP, HEADER_WHY

#: Longest reason in a `down` mark's header, in characters.
WHY_CHARACTERS_MAX = 200

_FeedMark = json_struct("feed_mark", strict=True)


def feed_mark(
    kind: str,
    at_ms: int,
    heard_at_ms: int,
    connection: str,
    channels: Sequence[str],
    *,
    group: str | None = None,
    why: str | None = None,
) -> MarkEntry:
    """Return a mark as an entry: JSON, with the fields of `feed_mark.avsc`; `group` and `why` are its headers."""
    headers = []
    if group is not None:
        headers.append((HEADER_GROUP, group.encode()))
    if why is not None:
        headers.append((HEADER_WHY, in_words(why).encode("utf-8", "replace")))
    value = msgspec.json.encode(_FeedMark(kind, at_ms, heard_at_ms, connection, channels))
    return MarkEntry(value, at_ms, tuple(headers))


def in_words(text: str) -> str:
    """Return a text, which may be a stranger's, as one line of bounded length."""
    printable = "".join(c if c.isprintable() else " " for c in text[: WHY_CHARACTERS_MAX * 2])
    return " ".join(printable.split())[:WHY_CHARACTERS_MAX]


class Stretch:
    """One connection's marks. `covered` says whether, by the marks so far, nothing is missing right now."""

    def __init__(self, connection: str, channels: Sequence[str], mark_every_ms: int, group: str | None = None) -> None:
        self._connection = connection
        self._channels = tuple(channels)
        self._mark_every_ms = mark_every_ms
        self._group = group
        self._due_at_ms = 0
        self._heard_at_ms = 0
        self.covered = False

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that the marks speak for."""
        return self._channels

    def speak_for(self, channels: Sequence[str]) -> None:
        """Take other channels; the next mark shows them, as it is due now."""
        self._channels = tuple(channels)
        self._due_at_ms = 0

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

    def down(self, now_ms: int, why: str) -> MarkEntry:
        """End the stretch where something last arrived and was kept."""
        self.covered = False
        return self._mark("down", now_ms, why)

    def _mark(self, kind: str, now_ms: int, why: str | None = None) -> MarkEntry:
        return feed_mark(kind, now_ms, self._heard_at_ms, self._connection, self._channels, group=self._group, why=why)
