"""One source partition that this worker owns: its step, its position, and the transactions that carry both."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from faust.types import TP

from processors.engine.batches import Batch
from processors.engine.crash import crash
from processors.engine.positions import decode_position, encode_position, position_key
from processors.engine.step import Changes, Step
from processors.engine.transaction_requests import GroupIdentity
from processors.engine.transactions import PartitionWriter

#: Records that may wait for a transaction before the stream has to: what a crash makes to be read again.
PENDING_RECORDS_MAX = 50_000

#: How long after a transaction the next one waits for more to carry. The broker needs a few ms to end one; a next one
#: that begins before that is held up by 20.
PAUSE_SECONDS = 0.01
#: The same for a partition that is further behind than this: its results are late already, and a transaction costs the
#: broker as much as hundreds of records.
BEHIND_RECORDS = 1_000
BEHIND_PAUSE_SECONDS = 0.2

OnCommit = Callable[[TP, Changes], None]
Identity = Callable[[], GroupIdentity]
LogEnd = Callable[[TP], int | None]


class OwnedPartition:
    """Applies batches at its position and commits what comes of them.

    While a transaction is under way, and for a moment after it, further batches are applied, and the next one carries
    them all: transactions are small and quick when there is little to do, and few and large under a backlog.
    """

    def __init__(
        self, source: TP, step: Step, writer: PartitionWriter, identity: Identity, log_end: LogEnd, on_commit: OnCommit
    ) -> None:
        self.source, self.step, self.writer = source, step, writer
        self.position = 0
        self.records = self.batches = self.transactions = self.missed = 0
        self.transaction_seconds = 0.0
        self._identity, self._log_end, self._on_commit = identity, log_end, on_commit
        self._pending = 0
        self._hurry = asyncio.Event()  # set while someone waits for what is pending
        self._committing: asyncio.Task[None] | None = None

    @property
    def lag(self) -> int:
        """How many records we are behind the log's end, as far as known."""
        return max(0, (self._log_end(self.source) or 0) - self.position)

    def restore(self, rows: Mapping[bytes, bytes], log_start: int) -> None:
        """Take up state and position from the changelog's rows; without any, begin at `log_start`."""
        state = dict(rows)
        position = state.pop(position_key(self.source.partition), None)
        self.position = log_start if position is None else decode_position(position)
        self.step.restore(state)

    async def apply(self, batch: Batch) -> None:
        """Process a batch and have it committed; waits while too much is pending.

        What was applied already is passed over: after a rebalance a batch may come twice.
        """
        if batch.base > self.position:
            crash(f"{self.source}: a batch at {batch.base} where {self.position} was expected")
        fresh = batch.since(self.position)
        if fresh.end <= self.position:
            return
        self.step.process(fresh)
        self.position = fresh.end
        self.records += len(fresh)
        self.batches += 1
        self._pending += len(fresh)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_pending())
        elif self._pending > PENDING_RECORDS_MAX:
            await self.settled()

    async def settled(self) -> None:
        """Wait until all that was applied is committed."""
        while self._committing is not None:
            self._hurry.set()
            await asyncio.shield(self._committing)

    async def _commit_pending(self) -> None:
        try:
            while self._pending:
                self._pending = 0
                began = time.perf_counter()
                changes = self.step.take()
                changes.rows[position_key(self.source.partition)] = encode_position(self.position)
                await self.writer.hand_over(changes, self.position, self._identity())
                self._on_commit(self.source, changes)
                self.transactions += 1
                self.transaction_seconds += time.perf_counter() - began
                await self._pause()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the outcome of the transaction is unknown
            crash(f"the transaction of {self.source} failed", error)
        finally:
            self._committing = None
            self._hurry.clear()

    async def _pause(self) -> None:
        pause_seconds = BEHIND_PAUSE_SECONDS if self.lag > BEHIND_RECORDS else PAUSE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), pause_seconds)

    async def close(self) -> None:
        """Commit what is pending and let go."""
        await self.settled()
        await self.writer.close()
