"""The engine of one worker: takes partitions over, feeds them their batches, and gives them up.

assigned    fence → read the changelogs → check against the group's offsets → seek → resume
a batch     apply → one transaction → into the table
revoked     take no more → finish the transaction under way
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import faust
import structlog
from aiokafka.structs import TopicPartition
from faust.types import TP, EventT, TableT

from processors.engine.batches import Batch, BatchSchema
from processors.engine.crash import crash
from processors.engine.errors import StateMismatchError
from processors.engine.partition import OwnedPartition
from processors.engine.positions import position_key
from processors.engine.recovery import load_rows, log_ends
from processors.engine.seams import (
    broker_reached,
    committed_offsets,
    group_identity,
    known_log_end,
    use_exact_parts,
)
from processors.engine.step import Changes, Step
from processors.engine.transaction_requests import GroupIdentity
from processors.engine.transactions import PartitionWriter

log = structlog.get_logger(__name__)

StepFactory = Callable[[TP], Step]


class Watcher(Protocol):
    """Who is told what stands in the tables; is called on the way of every transaction, and must return at once."""

    def taken_over(self, tp: TP, rows: Mapping[bytes, bytes]) -> None:
        """Take note of all rows of a partition that is ours from now on."""

    def committed(self, tp: TP, rows: Mapping[bytes, bytes | None]) -> None:
        """Take note of rows that were committed; None deletes one."""


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that is processed in batches, and the table for the state of its partitions."""

    topic: str
    partitions: int
    table: TableT[bytes, bytes]


class Engine:
    """Owns this worker's source partitions; `app` must have been made with `exact_app_options`."""

    def __init__(self, app: faust.App, bootstrap: str, new_step: StepFactory) -> None:
        self.app, self.partitions = app, dict[TP, OwnedPartition]()
        self._bootstrap, self._new_step = bootstrap, new_step
        self._sources: dict[str, Source] = {}
        self._accepting = False  # whether the state of all assigned partitions is at hand
        self._generation: int | None = None
        self._watcher: Watcher | None = None
        use_exact_parts(app, self)

    def add_source(self, topic: str, *, table: str, partitions: int) -> Source:
        """Process a topic in batches, with the state in a table of as many partitions, and return it.

        The topic and the table's changelog, `{app id}-{table}-changelog` and compacted, must be there already.
        The table is Faust's own, rows as raw bytes both sides. It holds what is committed and nothing else, and is
        written by the engine alone.
        """
        rows = self.app.Table(table, partitions=partitions, key_type=bytes, value_type=bytes)
        source = self._sources[topic] = Source(topic, partitions, rows)
        channel = self.app.topic(topic, schema=BatchSchema(), partitions=partitions)

        async def apply_batches(stream: Any) -> None:
            async for event in stream.events():
                await self._apply(event)

        self.app.agent(channel, name=f"{table}-agent")(apply_batches)
        return source

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher of all rows from now on."""
        self._watcher = watcher

    # -- what the rest of the worker asks ------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the state is recovered and the broker reached."""
        return self._accepting and broker_reached(self.app)

    @property
    def sources(self) -> Iterable[Source]:
        """The topics this worker takes part in."""
        return self._sources.values()

    def rows(self, source: Source) -> Iterable[tuple[bytes, bytes]]:
        """Return the committed rows of a source's table, past Faust's bookkeeping of each access."""
        return self._store(source.topic).items()

    def changelog(self, tp: TP) -> TopicPartition:
        """Return where the rows of a source partition are committed to."""
        return TopicPartition(self._sources[tp.topic].table.changelog_topic.get_topic_name(), tp.partition)

    def lags(self) -> Mapping[TP, int]:
        """Return how many records each owned partition is behind its log's end, as far as known."""
        return {tp: partition.lag for tp, partition in self.partitions.items()}

    # -- what Faust asks -----------------------------------------------------------------------------------------

    def is_source(self, topic: str) -> bool:
        """Whether the engine, and not Faust, keeps this topic's offsets."""
        return topic in self._sources

    def positions(self) -> Mapping[TP, int]:
        """Return the offset each owned partition goes on from."""
        return {tp: partition.position for tp, partition in self.partitions.items()}

    def missed(self, tp: TP, offsets: int) -> None:
        """Take note that so many offsets are not in the log any more, or never held a record."""
        self.partitions[tp].missed += offsets

    async def recover(self, generation: int) -> None:
        """Take over what this generation of the group assigned to us."""
        began = time.perf_counter()
        assigned = {tp for tp in self.app.consumer.assignment() if self.is_source(tp.topic)}
        # A transaction of an earlier generation is refused, but that does not tell us what has changed. Only if no
        # generation was missed is it certain that no one else owned, and changed, what was ours before and is ours now.
        followed_on = self._generation is not None and generation == self._generation + 1
        self._generation = generation
        kept = assigned & self.partitions.keys() if followed_on else set[TP]()
        await self._give_up(self.partitions.keys() - kept)
        new = [self._new_partition(tp) for tp in assigned - kept]
        try:
            await asyncio.gather(*(partition.writer.fence() for partition in new))
            fenced = time.perf_counter()
            await self._restore(new)
        except BaseException:
            await asyncio.gather(*(partition.writer.close() for partition in new), return_exceptions=True)
            raise
        self.partitions.update({partition.source: partition for partition in new})
        log.info(
            "engine.recovered",
            generation=generation,
            taken=_names(p.source for p in new),
            kept=_names(kept),
            fence_ms=round((fenced - began) * 1e3),
            load_ms=round((time.perf_counter() - fenced) * 1e3),
        )

    def resume(self) -> None:
        """Take batches from now on."""
        self._accepting = True

    async def quiesce(self) -> None:
        """Take no more batches, and return once what was applied is committed."""
        self._accepting = False
        for partition in list(self.partitions.values()):
            await partition.settled()

    async def close(self) -> None:
        """Commit what was applied and give everything up."""
        await self.quiesce()
        await self._give_up(list(self.partitions))

    # -- inside --------------------------------------------------------------------------------------------------

    async def _apply(self, event: EventT[Any]) -> None:
        partition = self.partitions.get(event.message.tp)
        if partition is not None and self._accepting:  # else revoked meanwhile: whoever owns it fetches it again
            batch = event.value
            assert isinstance(batch, Batch)
            await partition.apply(batch)

    def _new_partition(self, tp: TP) -> OwnedPartition:
        writer = PartitionWriter(self._bootstrap, self.app.conf.id, tp, self.changelog(tp).topic)
        log_end = partial(known_log_end, self.app)
        return OwnedPartition(tp, self._new_step(tp), writer, self._identity, log_end, self._publish)

    def _identity(self) -> GroupIdentity:
        """Return what the group knows us by in the generation that we took our partitions over in."""
        assert self._generation is not None
        return group_identity(self.app, self._generation)

    def _publish(self, tp: TP, changes: Changes) -> None:
        """Show committed rows in the table."""
        rows = self._store(tp.topic)
        for key, row in changes.rows.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        if self._watcher is not None:
            self._watcher.committed(tp, changes.rows)

    async def _restore(self, partitions: list[OwnedPartition]) -> None:
        if not partitions:
            return
        loaded = await load_rows(self._bootstrap, [self.changelog(p.source) for p in partitions])
        starts = await self.app.consumer.earliest_offsets(*(p.source for p in partitions))
        ends = await log_ends(self._bootstrap, [TopicPartition(*p.source) for p in partitions])
        committed = await committed_offsets(self.app, [p.source for p in partitions])
        for partition in partitions:
            tp = partition.source
            rows = loaded[self.changelog(tp)]
            partition.restore(rows, starts[tp])
            if partition.position > ends[TopicPartition(*tp)]:
                raise StateMismatchError(
                    f"the state of {tp.topic}/{tp.partition} is at {partition.position} and the log ends at "
                    f"{ends[TopicPartition(*tp)]}: the topic was made anew; use a new --app-id"
                )
            in_group = committed[tp]
            if position_key(tp.partition) in rows and in_group is not None and in_group != partition.position:
                crash(f"{tp}: the state is at {partition.position}, the group at {in_group}; they commit together")
            self._store(tp.topic).update(rows)
            if self._watcher is not None:
                self._watcher.taken_over(tp, rows)

    async def _give_up(self, tps: Iterable[TP]) -> None:
        for tp in list(tps):
            partition = self.partitions.pop(tp)
            await partition.close()
            rows = self._store(tp.topic)
            prefix = f"[{tp.partition},".encode()
            for key in [key for key in rows if key.startswith(prefix)]:
                del rows[key]

    def _store(self, topic: str) -> dict[bytes, bytes]:
        rows: dict[bytes, bytes] = self._sources[topic].table.data.data  # type: ignore[attr-defined]
        return rows


def _names(tps: Iterable[TP]) -> str:
    return " ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in tps)) or "none"
