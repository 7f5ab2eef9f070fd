"""Transactions against a real Kafka: together or not at all, and by one owner at a time."""

import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from broker.admin import connected, ensure_topics
from processors.engine.errors import EngineError, TransactionFailedError
from processors.engine.step import Changes, Result
from processors.engine.transaction_client import TransactionClient
from processors.engine.transaction_requests import NOBODY, GroupIdentity
from processors.engine.transactions import PartitionWriter
from schemas.topics import TopicSpec
from tests.integration.reading import records


@pytest.fixture
async def names(broker):
    """Source, changelog and output topics of a test's own."""
    name = uuid.uuid4().hex[:8]
    async with connected(broker) as client:
        large = (("max.message.bytes", str(4 << 20)),)
        await ensure_topics(client, [TopicSpec(f"{name}-{part}", 4, large) for part in ("raw", "log", "out")])
    return name


@asynccontextmanager
async def writer(broker, name, fence=True):
    one = PartitionWriter(broker, f"{name}-group", TP(f"{name}-raw", 2), f"{name}-log")
    try:
        if fence:
            await one.fence()
        yield one
    finally:
        await one.close()


def changes(name, *values, rows=None):
    return Changes(rows or {b"row": b"1"}, [Result(f"{name}-out", b"key", value, 1_000) for value in values])


async def committed(broker, topic):
    return await records(broker, topic, range(4))


async def group_offset(broker, name):
    async with AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=f"{name}-group", enable_auto_commit=False
    ) as consumer:
        return await consumer.committed(TopicPartition(f"{name}-raw", 2))


async def test_rows_results_and_offset_stand_together(broker, names):
    async with writer(broker, names) as one:
        await one.hand_over(changes(names, b"a", b"b"), 10, NOBODY)
        await one.hand_over(changes(names, b"c", rows={b"row": None}), 20, NOBODY)
    assert [m.value for m in await committed(broker, f"{names}-out")] == [b"a", b"b", b"c"]
    rows = await committed(broker, f"{names}-log")
    assert [(m.partition, m.key, m.value) for m in rows] == [(2, b"row", b"1"), (2, b"row", None)]
    assert await group_offset(broker, names) == 20


async def test_many_transactions_each_have_an_epoch_of_their_own(broker, names):
    epochs = set()
    async with writer(broker, names) as one:
        for number in range(20):
            epochs.add(one._producer)
            await one.hand_over(changes(names, str(number).encode()), number + 1, NOBODY)
    assert len(epochs) == 20
    assert [m.value for m in await committed(broker, f"{names}-out")] == [str(n).encode() for n in range(20)]


async def test_a_transaction_may_be_larger_than_a_batch(broker, names):
    values = [bytes([n]) * 400_000 for n in range(7)] + [b"x" * 2_000_000]
    async with writer(broker, names) as one:
        await one.hand_over(changes(names, *values), 1, NOBODY)
    assert [m.value for m in await committed(broker, f"{names}-out")] == values


async def test_whoever_takes_a_partition_over_shuts_out_whoever_had_it(broker, names):
    async with writer(broker, names) as old:
        await old.hand_over(changes(names, b"old"), 1, NOBODY)
        async with writer(broker, names) as new:
            with pytest.raises(TransactionFailedError, match=r"Fenced|Epoch"):
                await old.hand_over(changes(names, b"too late"), 2, NOBODY)
            await new.hand_over(changes(names, b"new"), 2, NOBODY)
    assert [m.value for m in await committed(broker, f"{names}-out")] == [b"old", b"new"]


async def test_what_an_owner_left_open_is_aborted_by_the_next(broker, names):
    async with writer(broker, names) as old:
        records = changes(names, b"left open")
        partitions = {f"{names}-out": await old._client.partitions_of(f"{names}-out")}
        from processors.engine.record_batches import records_by_partition, transactional_batches

        for tp, some in records_by_partition(records, old._changelog, 0, partitions.__getitem__).items():
            await old._client.append({tp: transactional_batches(some, *old._producer)[0]})
        async with writer(broker, names) as new:
            await new.hand_over(changes(names, b"new"), 1, NOBODY)
    assert [m.value for m in await committed(broker, f"{names}-out")] == [b"new"]


async def test_a_member_of_another_generation_cannot_commit(broker, names):
    group = f"{names}-group"
    async with AIOKafkaConsumer(f"{names}-raw", bootstrap_servers=broker, group_id=group) as member:
        await member.seek_to_beginning()
        coordinator = member._coordinator
        async with writer(broker, names) as one:
            us = GroupIdentity(coordinator.generation, coordinator.member_id, None)
            await one.hand_over(changes(names, b"ours"), 1, us)
            with pytest.raises(TransactionFailedError, match="IllegalGeneration"):
                await one.hand_over(changes(names, b"not ours"), 2, us._replace(generation=us.generation - 1))
        async with writer(broker, names) as one:
            with pytest.raises(TransactionFailedError, match="UnknownMember"):
                await one.hand_over(changes(names, b"nobody's"), 2, us._replace(member_id="someone else"))
        async with writer(broker, names):  # aborts what was left open
            assert [m.value for m in await committed(broker, f"{names}-out")] == [b"ours"]


async def test_a_topic_that_is_not_there_is_waited_for(broker, names):
    missing = f"{names}-later"
    async with writer(broker, names) as one:
        handing = asyncio.create_task(one.hand_over(Changes({}, [Result(missing, b"k", b"v", 1)]), 1, NOBODY))
        await asyncio.sleep(0.5)
        assert not handing.done()
        async with connected(broker) as client:
            await ensure_topics(client, [TopicSpec(missing, 4)])
        async with asyncio.timeout(20):
            await handing
    assert [m.value for m in await committed(broker, missing)] == [b"v"]


async def test_a_cluster_without_version_2_is_refused_with_the_remedy(broker, monkeypatch):
    from processors.engine.transaction_requests import BrokerFeaturesResponse

    monkeypatch.setattr(BrokerFeaturesResponse, "finalized", {"transaction.version": 1})
    client = TransactionClient(broker, "refused")
    with pytest.raises(EngineError, match=r"Kafka 4\.0 and newer"):
        await client.start()
    await client.close()


async def test_two_writers_of_two_partitions_do_not_disturb_each_other(broker, names):
    one = PartitionWriter(broker, f"{names}-group", TP(f"{names}-raw", 0), f"{names}-log")
    two = PartitionWriter(broker, f"{names}-group", TP(f"{names}-raw", 1), f"{names}-log")
    try:
        await asyncio.gather(one.fence(), two.fence())
        for number in range(10):
            value = str(number).encode()
            await asyncio.gather(
                one.hand_over(changes(names, b"one" + value), number, NOBODY),
                two.hand_over(changes(names, b"two" + value), number, NOBODY),
            )
    finally:
        await asyncio.gather(one.close(), two.close())
    found = [m.value for m in await committed(broker, f"{names}-out")]
    assert sorted(found) == sorted(who + str(n).encode() for who in (b"one", b"two") for n in range(10))


async def test_the_old_protocols_producer_and_ours_may_share_a_topic(broker, names):
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=f"{names}-old") as old, old.transaction():
        await old.send_and_wait(f"{names}-out", b"by the old", key=b"key")
    async with writer(broker, names) as one:
        await one.hand_over(changes(names, b"by ours"), 1, NOBODY)
    assert [m.value for m in await committed(broker, f"{names}-out")] == [b"by the old", b"by ours"]
