"""Finished answers, given again for a moment: what is asked for often is made a few times a second."""

import time
from collections.abc import Hashable
from dataclasses import dataclass

from processors.views.bodies import Body

#: An answer is given again for as long as keeps the share of time that goes into making it, in these bounds.
MAKING_SHARE_MAX = 0.02
KEPT_SECONDS_MIN, KEPT_SECONDS_MAX = 0.1, 1.0
#: Of all that are kept: a list of thousands of windows is megabytes, and can be asked for in hundreds of ways.
BODIES_MAX, BYTES_MAX = 256, 32 << 20


@dataclass(slots=True)
class _Kept:
    """An answer as things stood at some moment after `begun_at`; given again before `until`. Monotonic seconds."""

    body: Body
    begun_at: float
    until: float


class KeptBodies:
    """The answers that were asked for last, by what was asked."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}  # those that were made longest ago first
        self._bytes = 0
        self._from = 0.0

    def make_anew(self) -> None:
        """Give none again that was begun before now: somebody has begun to follow what changes from now on."""
        self._from = time.monotonic()

    def recent(self, asked: Hashable) -> Body | None:
        """Return an answer that was made a moment ago."""
        kept = self._kept.get(asked)
        if kept is None or kept.begun_at < self._from or time.monotonic() >= kept.until:
            return None
        return kept.body

    def unchanged(self, asked: Hashable, tag: str) -> Body | None:
        """Return an answer of any age that would be the same now, as it has the tag that it would have."""
        kept = self._kept.get(asked)
        if kept is None or kept.body.tag != tag:
            return None
        kept.begun_at = time.monotonic()
        kept.until = kept.begun_at + KEPT_SECONDS_MIN
        return kept.body

    def keep(self, asked: Hashable, body: Body, begun_at: float, spent_seconds: float) -> None:
        """Keep an answer that was begun at that time, monotonic, and took so long to make."""
        seconds = min(max(spent_seconds / MAKING_SHARE_MAX, KEPT_SECONDS_MIN), KEPT_SECONDS_MAX)
        self._drop(asked)
        self._kept[asked] = _Kept(body, begun_at, time.monotonic() + seconds)
        self._bytes += len(body.content)
        while len(self._kept) > BODIES_MAX or self._bytes > BYTES_MAX:
            self._drop(next(iter(self._kept)))

    def _drop(self, asked: Hashable) -> None:
        dropped = self._kept.pop(asked, None)
        if dropped is not None:
            self._bytes -= len(dropped.body.content)
