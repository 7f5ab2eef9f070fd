"""The committed rows of all partitions of the group, on any of its workers.

ours        the engine tells of them as it commits them
the rest    are read where they were committed to: in the changelogs

So no worker asks another, or has to know where it is. Nothing is kept while nobody asks.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from processors.engine.committed_reader import started_reader
from processors.engine.engine import Engine
from processors.engine.freshness import Freshness
from processors.engine.positions import decode_position, position_key
from processors.engine.seams import pace_fetches

log = structlog.get_logger(__name__)

IDLE_SECONDS = 300.0  # after which what nobody asks for is dropped
SAMPLE_SECONDS = 0.5  # between two looks at where the raw topics end
LOOK_SECONDS = 0.1  # between two looks at which partitions are not ours
#: A reader that stood still for longer may have missed that rows were deleted: the changelogs keep that for a minute.
STILL_SECONDS_MAX = 30.0
RETRY_SECONDS = 1.0


class Sink(Protocol):
    """What keeps the rows."""

    def replace(self, partition: TP, rows: Mapping[bytes, bytes]) -> None:
        """Take all rows of a partition."""

    def apply(self, partition: TP, rows: Mapping[bytes, bytes | None]) -> None:
        """Take rows that have changed; None deletes one."""

    def forget(self) -> None:
        """Drop everything."""


class _Reading:
    """A changelog partition that is read; `rows` are kept aside until all that stood there has been read."""

    def __init__(self, source: TP, end: int) -> None:
        self.source, self.end, self.rows = source, end, dict[bytes, bytes | None]()
        self.loaded = False


class GroupRows:
    """Keeps a sink up to date for as long as somebody asks; all calls are to be made in the worker's loop."""

    def __init__(self, engine: Engine, bootstrap: str, sink: Sink) -> None:
        self._engine, self._bootstrap, self._sink = engine, bootstrap, sink
        self._freshness: dict[TP, Freshness] = {}  # of the partitions whose rows are known
        self._complete = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        engine.watch(self)

    # -- what the engine tells -----------------------------------------------------------------------------------

    def taken_over(self, tp: TP, rows: Mapping[bytes, bytes]) -> None:
        """Take all rows of a partition that is ours from now on."""
        if self._keeping is not None:
            self._replace(tp, rows)

    def committed(self, tp: TP, rows: Mapping[bytes, bytes | None]) -> None:
        """Take rows of ours."""
        if self._keeping is not None:
            self._apply(tp, rows)

    # -- what is asked -------------------------------------------------------------------------------------------

    @property
    def sources(self) -> list[TP]:
        """All source partitions of the group."""
        return [TP(source.topic, n) for source in self._engine.sources for n in range(source.partitions)]

    @property
    def missing(self) -> list[TP]:
        """The partitions whose rows, or whose age, are not known yet."""
        known = self._freshness
        return [tp for tp in self.sources if tp not in known or known[tp].log_end is None]

    @property
    def freshness(self) -> Mapping[TP, Freshness]:
        """How fresh each partition's rows are."""
        return self._freshness

    async def kept(self, seconds_max: float) -> bool:
        """Have the sink kept, and return whether it holds all partitions; waits for that for so long."""
        self.touch()
        if not self._complete.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds_max):
                    await self._complete.wait()
        return self._complete.is_set()

    def touch(self) -> None:
        """Go on for another while, or begin."""
        self._asked_at = time.monotonic()
        if self._keeping is None:
            for source in self._engine.sources:
                for tp, rows in _by_partition(source.topic, self._engine.rows(source)).items():
                    if tp in self._engine.partitions:
                        self._replace(tp, rows)
            for tp in self._engine.partitions.keys() - self._freshness.keys():
                self._replace(tp, {})
            self._keeping = asyncio.create_task(self._keep())
            self._keeping.add_done_callback(self._stopped)

    async def close(self) -> None:
        """Read no more."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    # -- inside --------------------------------------------------------------------------------------------------

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Drop everything: the next to ask begins anew."""
        if not task.cancelled() and task.exception() is not None:
            log.error("group_rows.failed", error=repr(task.exception()))
        self._keeping = None
        self._complete.clear()
        self._freshness.clear()
        self._sink.forget()

    async def _keep(self) -> None:
        while True:
            try:
                consumer = await started_reader(
                    self._bootstrap,
                    max_partition_fetch_bytes=8 << 20,
                    fetch_max_wait_ms=100,
                    request_timeout_ms=5_000,
                    retry_backoff_ms=5,
                )
                try:
                    pace_fetches(consumer)
                    await self._follow(consumer)
                finally:
                    await consumer.stop()
                return
            except KafkaError as error:
                log.warning("group_rows.broker_lost", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        """Keep up with what others commit, and with where the raw topics end, until nobody has asked for a while."""
        readings: dict[TopicPartition, _Reading] = {}
        sampled_at = looked_at = 0.0
        while (now := time.monotonic()) - self._asked_at < IDLE_SECONDS or not self._complete.is_set():
            if now - looked_at > STILL_SECONDS_MAX:
                readings = {}
            looked_at = now
            if now - sampled_at >= SAMPLE_SECONDS:
                sampled_at = now
                await self._sample(consumer)
            readings = await self._turn(consumer, readings)
            if not readings:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for changelog, records in (await consumer.getmany(timeout_ms=round(LOOK_SECONDS * 1e3))).items():
                self._take(readings[changelog], {record.key: record.value for record in records})
            for changelog, reading in readings.items():
                if not reading.loaded and await consumer.position(changelog) >= reading.end:
                    self._loaded(reading)

    async def _turn(
        self, consumer: AIOKafkaConsumer, readings: dict[TopicPartition, _Reading]
    ) -> dict[TopicPartition, _Reading]:
        """Read the changelogs of the partitions that are not ours now, those that are new from their beginning."""
        wanted = {self._engine.changelog(tp): tp for tp in self.sources if tp not in self._engine.partitions}
        if wanted.keys() == readings.keys():
            return readings
        kept = {changelog: await consumer.position(changelog) for changelog in wanted.keys() & readings.keys()}
        new = wanted.keys() - kept.keys()
        ends = await consumer.end_offsets(list(new)) if new else {}
        if wanted:
            consumer.assign(list(wanted))
        else:
            consumer.unsubscribe()
        for changelog in wanted:
            consumer.seek(changelog, kept.get(changelog, 0))
        return {c: readings[c] if c in kept else _Reading(tp, ends[c]) for c, tp in wanted.items()}

    async def _sample(self, consumer: AIOKafkaConsumer) -> None:
        at_ms = round(time.time() * 1e3)
        ends = await consumer.end_offsets([TopicPartition(*tp) for tp in self.sources])
        untouched = [TopicPartition(*tp) for tp, known in self._freshness.items() if not known.position]
        for tp, begin in (await consumer.beginning_offsets(untouched)).items() if untouched else ():
            self._freshness[tp].reached(max(begin, self._freshness[tp].position or 0))  # nothing before it is there
        for tp, end in ends.items():
            if tp in self._freshness:
                self._freshness[tp].ends_at(end, at_ms)
        self._look()

    def _take(self, reading: _Reading, rows: dict[bytes, bytes | None]) -> None:
        if not reading.loaded:
            reading.rows.update(rows)
        elif reading.source not in self._engine.partitions:  # else taken over meanwhile, and told of by the engine
            self._apply(reading.source, rows)

    def _loaded(self, reading: _Reading) -> None:
        reading.loaded = True
        if reading.source not in self._engine.partitions:
            self._replace(reading.source, {key: row for key, row in reading.rows.items() if row is not None})
        reading.rows = {}

    def _replace(self, tp: TP, rows: Mapping[bytes, bytes]) -> None:
        self._sink.replace(tp, rows)
        self._freshness.setdefault(tp, Freshness())
        self._reached(tp, rows.get(position_key(tp.partition), b"0"))
        self._look()

    def _apply(self, tp: TP, rows: Mapping[bytes, bytes | None]) -> None:
        self._sink.apply(tp, rows)
        self._reached(tp, rows.get(position_key(tp.partition)))

    def _reached(self, tp: TP, row: bytes | None) -> None:
        if row is not None:
            self._freshness[tp].reached(decode_position(row))

    def _look(self) -> None:
        if not self.missing:
            self._complete.set()


def _by_partition(topic: str, rows: Iterable[tuple[bytes, bytes]]) -> dict[TP, dict[bytes, bytes]]:
    """Part a table's rows by their partition, with which every key begins: `[3,…`."""
    parted: dict[int, dict[bytes, bytes]] = {}
    for key, row in rows:
        parted.setdefault(int(key[1 : key.index(b",")]), {})[key] = row
    return {TP(topic, partition): part for partition, part in parted.items()}
