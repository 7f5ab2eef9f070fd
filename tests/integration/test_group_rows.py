"""The rows of the whole group, kept on one worker: some its own, the others read from real changelogs."""

import asyncio
import uuid
from collections import namedtuple
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from faust.types import TP

from broker.admin import connected, ensure_topics
from processors.engine.group_rows import GroupRows
from processors.engine.positions import encode_position, position_key
from sandbox.ports import free_port
from schemas.topics import TopicSpec
from tests.integration.processes import eventually

Source = namedtuple("Source", "topic partitions")
KEYS = {partition: f'[{partition},"row"]'.encode() for partition in range(2)}


class Worker:
    """As much of an engine as the group's rows see of one."""

    def __init__(self, name):
        self.sources = [Source(f"{name}-raw", 2)]
        self.partitions, self.table = {}, {}

    def watch(self, watcher):
        self.watcher = watcher

    def rows(self, source):
        return self.table.items()

    def changelog(self, tp):
        return TopicPartition(tp.topic.replace("raw", "changelog"), tp.partition)

    def own(self, partition, rows):
        """Take a partition over, with these rows."""
        tp = TP(self.sources[0].topic, partition)
        self.table.update(rows)
        self.watcher.taken_over(tp, rows)
        self.partitions[tp] = ...

    def lose(self, partition):
        """Give a partition up."""
        del self.partitions[self.sources[0].topic, partition]


class Seen(dict):
    """Rows by partition's number."""

    def replace(self, partition, rows):
        self[partition[1]] = dict(rows)

    def apply(self, partition, rows):
        for key, row in rows.items():
            self[partition[1]].pop(key, None) if row is None else self[partition[1]].update({key: row})

    def forget(self):
        self.clear()

    def row(self, partition):
        return self.get(partition, {}).get(KEYS[partition])


@asynccontextmanager
async def group(broker):
    """Yield a worker, what it has seen, the rows it keeps, and how to commit rows elsewhere."""
    name = f"group-{uuid.uuid4().hex[:8]}"
    async with connected(broker) as client:
        await ensure_topics(client, [TopicSpec(f"{name}-{what}", 2) for what in ("raw", "changelog")])
    running, seen = Worker(name), Seen()
    rows = GroupRows(running, broker, seen)
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=name) as producer:

        async def commit(partition, row, position, aborted=False):
            async with transaction(producer, aborted):
                written = {KEYS[partition]: row, position_key(partition): encode_position(position)}
                for key, value in written.items():
                    await producer.send(f"{name}-changelog", value, key=key, partition=partition)

        async def process(partition):
            async with AIOKafkaProducer(bootstrap_servers=broker) as plain:
                await plain.send_and_wait(f"{name}-raw", b"frame", partition=partition)

        try:
            yield running, seen, rows, commit, process
        finally:
            await rows.close()


@asynccontextmanager
async def transaction(producer, aborted):
    await producer.begin_transaction()
    yield
    await (producer.abort_transaction() if aborted else producer.commit_transaction())


async def test_rows_of_other_workers_are_those_that_they_committed(broker):
    async with group(broker) as (_, seen, rows, commit, _):
        await commit(0, b"old", 1)
        await commit(0, b"new", 2)
        await commit(1, b"gone", 1)
        await commit(1, None, 2)
        await commit(1, b"aborted", 3, aborted=True)
        assert await rows.kept(10)
        assert (seen.row(0), seen.row(1)) == (b"new", None)
        await commit(1, b"more", 4)
        await eventually(lambda: is_(seen.row(1), b"more"))
        await commit(1, None, 5)
        await eventually(lambda: is_(seen.row(1), None))
        assert {tp.partition: known.position for tp, known in rows.freshness.items()} == {0: 2, 1: 5}


async def test_a_partition_that_is_handed_over_is_never_without_rows_and_never_goes_back(broker):
    async with group(broker) as (running, seen, rows, commit, _):
        await commit(0, b"theirs", 1)
        assert await rows.kept(10)
        running.own(0, {KEYS[0]: b"ours", position_key(0): encode_position(2)})
        assert seen.row(0) == b"ours"
        await commit(0, b"ours", 2)  # comes to the reader after the partition is ours
        running.watcher.committed(TP(running.sources[0].topic, 0), {KEYS[0]: b"ours too"})
        await asyncio.sleep(0.3)  # time enough to read what must not be shown
        assert seen.row(0) == b"ours too"
        running.lose(0)
        assert seen.row(0) == b"ours too"
        await commit(0, b"theirs again", 3)
        await eventually(lambda: is_(seen.row(0), b"theirs again"))


async def test_rows_are_fresh_while_nobody_writes_and_age_while_nobody_processes(broker):
    async with group(broker) as (_, _, rows, commit, process):
        assert await rows.kept(10)
        known = next(known for tp, known in rows.freshness.items() if tp.partition == 0)
        first = known.as_of_ms
        assert first is not None
        await eventually(lambda: is_(known.as_of_ms > first, True))
        await process(0)
        await eventually(lambda: is_(known.lag, 1))
        stopped = known.as_of_ms
        await asyncio.sleep(1.2)  # two looks at the end of the log
        assert known.as_of_ms == stopped
        await commit(0, b"done", 1)
        await eventually(lambda: is_(known.as_of_ms > stopped, True))
        assert known.lag == 0


async def test_without_a_broker_it_is_said_which_partitions_are_missing_and_nothing_waits_for_long():
    running, seen = Worker("alone"), Seen()
    rows = GroupRows(running, f"127.0.0.1:{free_port()}", seen)
    running.own(0, {KEYS[0]: b"before anybody asked"})
    assert seen == {}
    began = asyncio.get_running_loop().time()
    assert not await rows.kept(0.2)
    assert asyncio.get_running_loop().time() - began < 2
    assert rows.missing == [TP("alone-raw", 0), TP("alone-raw", 1)]
    assert seen.row(0) == b"before anybody asked"  # it is known, but not how old it is
    await rows.close()
    assert seen == {}


async def test_what_nobody_asks_for_is_dropped_and_kept_anew_for_the_next_to_ask(broker, monkeypatch):
    monkeypatch.setattr("processors.engine.group_rows.IDLE_SECONDS", 0.1)
    async with group(broker) as (running, seen, rows, commit, _):
        await commit(1, b"theirs", 1)
        running.own(0, {KEYS[0]: b"ours"})
        for _ in range(2):
            assert await rows.kept(10)
            assert (seen.row(0), seen.row(1)) == (b"ours", b"theirs")
            await eventually(lambda: is_(seen, {}))


async def is_(value, wanted):
    return value == wanted
