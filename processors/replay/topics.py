"""Raw records from the broker's log: by partition, committed records only, between offsets that are set at start."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import replace

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from processors.engine.light_records import hand_over_light_records
from processors.raw_topics import SILENT_SECONDS_MAX, raw_consumer, raw_partitions
from processors.replay.own_loop import OwnLoop
from processors.replay.partition import WARM_UP_MS, Records
from processors.replay.plan import Plan, Stretch
from processors.replay.settings import ReplaySettings
from schemas.errors import OperationError
from schemas.topics import MARK_KEY


class TopicSource:
    """Reads the stretches of a plan; a loop of its own runs while it is asked, and never in between."""

    def __init__(self, bootstrap: str, plan: Plan) -> None:
        self._loop = OwnLoop()
        self._positions = {s.tp: s.begin for s in plan}
        self._ends = {s.tp: s.end for s in plan}
        self._consumer: AIOKafkaConsumer | None = None
        try:
            self._loop.run(self._start(bootstrap))
        except BaseException:
            self.close()
            raise

    async def _start(self, bootstrap: str) -> None:
        self._consumer = raw_consumer(bootstrap)
        await _started(self._consumer, bootstrap)
        hand_over_light_records(self._consumer)
        self._consumer.assign(list(self._positions))
        for tp, position in self._positions.items():
            self._consumer.seek(tp, position)

    def read(self, wanted: Collection[TopicPartition]) -> Iterator[tuple[TopicPartition, Records, bool]]:
        """Return what is at hand of these partitions, each with whether it has ended; waits for at least one."""
        try:
            found = self._loop.run(self._read(wanted))
        except KafkaError as error:
            raise OperationError(f"the raw topics could not be read: {error!r}") from error
        yield from found

    async def _read(self, wanted: Collection[TopicPartition]) -> list[tuple[TopicPartition, Records, bool]]:
        done: list[tuple[TopicPartition, Records, bool]] = [
            (tp, [], True) for tp in wanted if self._positions[tp] >= self._ends[tp]
        ]
        if done:
            return done
        clock = asyncio.get_running_loop()
        deadline = clock.time() + SILENT_SECONDS_MAX
        while True:
            fetched = await self._getmany(wanted)
            found = [self._take(tp, records) for tp, records in fetched.items()]
            found += [(tp, [], True) for tp in wanted if tp not in fetched and await self._at_end(tp)]
            if found:
                await self._ask_for_more()
                return found
            if clock.time() > deadline:
                raise OperationError(f"the broker sent nothing for {SILENT_SECONDS_MAX:.0f} s: look whether it is well")

    async def _getmany(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, list[object]]:
        assert self._consumer is not None
        fetched: dict[TopicPartition, list[object]] = await self._consumer.getmany(*wanted, timeout_ms=200)
        return fetched

    async def _ask_for_more(self) -> None:
        """Let the consumer send its next fetch, so that the broker works on it while we work on this one."""
        for _ in range(5):
            await asyncio.sleep(0)

    def _take(self, tp: TopicPartition, records: list[object]) -> tuple[TopicPartition, Records, bool]:
        taken: Records = records  # type: ignore[assignment]
        end = self._ends[tp]
        if taken[-1].offset >= end:
            taken = [record for record in taken if record.offset < end]
            self._positions[tp] = end
        else:
            self._positions[tp] = taken[-1].offset + 1
        return tp, taken, self._positions[tp] >= end

    async def _at_end(self, tp: TopicPartition) -> bool:
        """Whether nothing but control records is left of a partition."""
        assert self._consumer is not None
        self._positions[tp] = max(self._positions[tp], await self._consumer.position(tp))
        return self._positions[tp] >= self._ends[tp]

    def close(self) -> None:
        """Disconnect."""
        if self._loop.closed:
            return
        try:
            if self._consumer is not None:
                self._loop.run(self._consumer.stop())
        finally:
            self._loop.close()


async def _started(consumer: AIOKafkaConsumer, bootstrap: str) -> None:
    try:
        await consumer.start()
    except KafkaError as error:
        raise OperationError(f"no Kafka broker answers at {bootstrap}: name another with --broker") from error


async def plan_topics(settings: ReplaySettings) -> Plan:
    """Return what to read of the raw topics as they stand now. Raises OperationError where there are none."""
    counts = await raw_partitions(settings.bootstrap, settings.source)
    tps = [TopicPartition(topic, number) for topic, count in sorted(counts.items()) for number in range(count)]
    consumer = raw_consumer(settings.bootstrap)
    try:
        await _started(consumer, settings.bootstrap)
        consumer.assign(tps)
        return await _stretches(consumer, tps, settings)
    except KafkaError as error:
        raise OperationError(f"the raw topics' offsets could not be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _stretches(consumer: AIOKafkaConsumer, tps: list[TopicPartition], settings: ReplaySettings) -> Plan:
    first = await consumer.beginning_offsets(tps)
    last = await consumer.end_offsets(tps)  # of what is committed
    begin, end = dict(first), dict(last)
    span = settings.range
    if span.from_ms is not None:
        begin = await _offsets_at(consumer, tps, span.from_ms - WARM_UP_MS, last)
    if span.to_ms is not None and span.clock == "receive":
        end = await _offsets_at(consumer, tps, span.to_ms, last)
    plan = [Stretch(tp.topic, tp.partition, begin[tp], max(begin[tp], end[tp]), begin[tp] > 0) for tp in tps]
    if span.from_ms is None:
        return tuple(plan)
    warm = await _offsets_at(consumer, tps, span.from_ms, last)
    for index, stretch in enumerate(plan):
        tp = stretch.tp
        if span.clock == "receive" and warm[tp] >= stretch.end:
            plan[index] = replace(stretch, begin=stretch.end)  # nothing of it can be in the range
        elif begin[tp] > first[tp] and not await _has_mark(consumer, tp, begin[tp], warm[tp]):
            # Whether the feed had been up before cannot be told from here: only the beginning tells.
            plan[index] = replace(stretch, begin=first[tp], cut=first[tp] > 0)
    return tuple(plan)


async def _offsets_at(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], at_ms: int, ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return the first offset of each partition that was received at a moment or later, or its end."""
    found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, at_ms)))
    return {tp: min(found[tp].offset, ends[tp]) if found.get(tp) else ends[tp] for tp in tps}


async def _has_mark(consumer: AIOKafkaConsumer, tp: TopicPartition, begin: int, end: int) -> bool:
    """Whether there is a feed mark in `[begin, end)`."""
    consumer.seek(tp, begin)
    deadline = asyncio.get_running_loop().time() + SILENT_SECONDS_MAX
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
            if record.offset < end and record.key == MARK_KEY:
                return True
        if asyncio.get_running_loop().time() > deadline:
            raise OperationError(f"the broker sent nothing of {tp.topic}/{tp.partition}: look whether it is well")
    return False
