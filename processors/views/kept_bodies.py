"""Finished answers, given again for a moment: what is asked for often is made a few times a second."""

import time
from collections.abc import Hashable
from dataclasses import dataclass

from processors.views.bodies import Body

#: An answer is given again for as long as keeps the share of time that goes into making it, but no longer than that.
MAKING_SHARE_MAX = 0.02
KEPT_SECONDS_MAX = 1.0
#: And at least for so long by a worker that is behind: its rows change a hundred times a second, and are old anyway.
BEHIND_SECONDS = 0.1
#: Of all that are kept: a list of thousands of windows is megabytes, and can be asked for in hundreds of ways.
BODIES_MAX, BYTES_MAX = 256, 32 << 20


@dataclass(slots=True)
class _Kept:
    """An answer as things stood at some moment between `begun_at` and `made_at`; monotonic seconds."""

    body: Body
    behind: bool  # whether what it was made of was old
    begun_at: float
    made_at: float
    kept_seconds: float


class KeptBodies:
    """The answers that were asked for last, by what was asked."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}  # those that were made longest ago first
        self._bytes = 0
        self._from = 0.0

    def make_anew(self) -> None:
        """Give none again that was begun before now: somebody has begun to follow what changes from now on."""
        self._from = time.monotonic()

    def recent(self, asked: Hashable, behind: bool) -> Body | None:
        """Return an answer that was made a moment ago, or longer ago by a worker that is behind.

        None that was made while it was behind once it is not: such an answer would not say how old it is.
        """
        kept = self._kept.get(asked)
        if kept is None or kept.begun_at < self._from or (kept.behind and not behind):
            return None
        seconds = max(kept.kept_seconds, BEHIND_SECONDS) if behind else kept.kept_seconds
        return kept.body if time.monotonic() - kept.made_at < seconds else None

    def unchanged(self, asked: Hashable, tag: str, behind: bool) -> Body | None:
        """Return an answer of any age that would be the same now, as it has the tag that it would have."""
        kept = self._kept.get(asked)
        if kept is None or kept.body.tag != tag:
            return None
        kept.begun_at = kept.made_at = time.monotonic()
        kept.behind = behind
        return kept.body

    def keep(self, asked: Hashable, body: Body, begun_at: float, spent_seconds: float, behind: bool) -> None:
        """Keep an answer that was begun at that time, monotonic, and took so long to make."""
        kept_seconds = min(spent_seconds / MAKING_SHARE_MAX, KEPT_SECONDS_MAX)
        self._drop(asked)
        self._kept[asked] = _Kept(body, behind, begun_at, time.monotonic(), kept_seconds)
        self._bytes += len(body.content)
        while len(self._kept) > BODIES_MAX or self._bytes > BYTES_MAX:
            self._drop(next(iter(self._kept)))

    def _drop(self, asked: Hashable) -> None:
        dropped = self._kept.pop(asked, None)
        if dropped is not None:
            self._bytes -= len(dropped.body.content)
