"""What the views know of the group: its rows, how old they are, and how it is."""

import time
from collections.abc import Mapping
from typing import Any

from faust.types import TP

from processors.engine.engine import Engine
from processors.engine.group_rows import GroupRows
from processors.engine.seams import owners
from processors.settings import WorkerSettings
from processors.views.board import Board
from processors.views.health import PartitionState, group_health, watermark_ms
from processors.views.problems import RecoveringError

#: How long a request waits for the rows of the whole group: they are read where nobody asked for a while.
ROWS_SECONDS_MAX = 3.0
#: Rows may be as old as this before an answer says so.
FRESH_MS_MAX = 2_000
#: How often that is looked at.
LOOK_SECONDS = 0.1


class Group:
    """The rows of all partitions, on a board."""

    def __init__(self, engine: Engine, settings: WorkerSettings) -> None:
        self.board = Board(settings.window_sizes)
        self.rows = GroupRows(engine, settings.bootstrap, self.board)
        self._engine = engine
        self._stale_ms: int | None = None
        self._looked_at = -LOOK_SECONDS

    async def complete(self) -> None:
        """Return once the board holds all partitions; raises RecoveringError where that takes too long."""
        if not await self.rows.kept(ROWS_SECONDS_MAX):
            raise RecoveringError(self.rows.missing)

    def stale_ms(self) -> int | None:
        """Return how old the oldest rows are; None where they are fresh, and no partition is being handed over."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at, self._stale_ms = now, self._stale_ms_now()
        return self._stale_ms

    def _stale_ms_now(self) -> int | None:
        now_ms, ready = round(time.time() * 1e3), self._engine.ready
        fresh_from_ms = now_ms - FRESH_MS_MAX
        if ready and all((known.as_of_ms or 0) >= fresh_from_ms for known in self.rows.freshness.values()):
            return None
        stale_ms = max((self._age_ms(tp, now_ms) for tp in self.rows.sources), default=0)
        return stale_ms if stale_ms > FRESH_MS_MAX or not ready else None

    def health(self) -> Mapping[str, Any]:
        """Return the `health` event's data."""
        now_ms, assigned = round(time.time() * 1e3), owners(self._engine.app)
        missing, moving = set(self.rows.missing), not self._engine.ready
        states = [
            PartitionState(
                *tp,
                owner=assigned.get(tp),
                recovering=moving or tp in missing,
                lag=None if tp in missing else self.rows.freshness[tp].lag,
                stale_ms=None if tp in missing else self._age_ms(tp, now_ms),
            )
            for tp in self.rows.sources
        ]
        return group_health(self.board, states, now_ms)

    def _age_ms(self, tp: TP, now_ms: int) -> int:
        as_of_ms = self.rows.freshness[tp].as_of_ms or 0
        # Rows that never held all there was, as under a backlog, hold at least what happened before the watermark.
        return max(0, now_ms - max(as_of_ms, watermark_ms(self.board, *tp) or 0))
