"""A request of one transaction that reaches the broker during a later one (trap 9 of exactly-once: Jepsen's finding).

    transaction 1 ── EndTxn ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐ a copy, or the original whose connection was cut
                       └─ asked again, done         ▼
    transaction 2            ── records ──────── here ──────── offset ── EndTxn

The control is Kafka's older protocol, as aiokafka's own producer speaks it (InitProducerId, AddPartitionsToTxn,
AddOffsetsToTxn, TxnOffsetCommit and EndTxn v0, Produce v7): a transaction is known by the producer's epoch, which
stays, so that the late request ends whatever is open. A broker with transaction.version 2 does not mend that for such a
client.
"""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import InvalidTxnState
from faust.types import TP

from broker.admin import connected, ensure_topics
from processors.engine.step import Changes, Result
from processors.engine.transaction_requests import NOBODY
from processors.engine.transactions import PartitionWriter
from schemas.topics import TopicSpec
from tests.conftest import ProxiedKafka
from tests.fault.proxy import Api, Gate, Hold, LoseResponse, Repeat, Rule, Stray

OK = 0
PRODUCER_FENCED = 90

LATE = pytest.mark.parametrize("late", [Repeat, Stray], ids=["copied", "cut off"])
Late = type[Repeat] | type[Stray]


class Seen(NamedTuple):
    """What a read_committed reader sees of both topics, and the group's offset."""

    rows: list[bytes]
    results: list[bytes]
    offset: int | None


class World(NamedTuple):
    """Topics and a group of a test's own, on a Kafka with a proxy before it."""

    kafka: ProxiedKafka
    source: str
    rows: str
    results: str
    group: str
    committed: AIOKafkaConsumer
    uncommitted: AIOKafkaConsumer
    admin: AIOKafkaAdminClient

    @property
    def places(self) -> list[TopicPartition]:
        """Where is written."""
        return [TopicPartition(topic, 0) for topic in (self.rows, self.results)]

    async def seen(self) -> Seen:
        """What is to be seen right now."""
        for place in self.places:
            self.committed.seek(place, 0)
        ends = await self.committed.end_offsets(self.places)
        found: dict[TopicPartition, list[bytes]] = {place: [] for place in self.places}
        while any([await self.committed.position(place) < ends[place] for place in self.places]):
            for place, records in (await self.committed.getmany(timeout_ms=500)).items():
                found[place] += [record.value for record in records]
        offsets = await self.admin.list_consumer_group_offsets(self.group)
        offset = offsets.get(TopicPartition(self.source, 0))
        rows, results = found.values()
        return Seen(rows, results, offset.offset if offset else None)

    async def seen_settled(self) -> Seen:
        """What is to be seen when no transaction is open: a broker acknowledges its end before it writes it down."""
        deadline_s = time.monotonic() + 10
        while await self.committed.end_offsets(self.places) != await self.uncommitted.end_offsets(self.places):
            assert time.monotonic() < deadline_s, "a transaction stays open"
            await asyncio.sleep(0.02)
        return await self.seen()

    async def late_answer(self, gate: Gate) -> bytes:
        """Let what is late arrive, and return what the broker says."""
        gate.open()
        return await asyncio.wait_for(self.kafka.proxy.late_answers.get(), 10)

    def was_late(self, api: Api, version: int) -> bool:
        """Whether exactly one request of this kind came late."""
        entries = self.kafka.proxy.happened("delivered late")
        kinds = [(entry.request.api_key, entry.request.version) for entry in entries if entry.request]
        return kinds == [(api, version)]


@asynccontextmanager
async def reading(kafka: ProxiedKafka, isolation_level: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.direct,
        isolation_level=isolation_level,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@pytest.fixture
async def world(proxied_kafka: ProxiedKafka) -> AsyncIterator[World]:
    source, rows, results = (f"test-{kind}-{uuid4()}" for kind in ("source", "rows", "results"))
    async with connected(proxied_kafka.direct) as admin:
        await ensure_topics(admin, [TopicSpec(name, 1) for name in (source, rows, results)])
        async with (
            reading(proxied_kafka, "read_committed") as committed,
            reading(proxied_kafka, "read_uncommitted") as uncommitted,
        ):
            world = World(proxied_kafka, source, rows, results, f"test-{uuid4()}", committed, uncommitted, admin)
            committed.assign(world.places)
            yield world


# --- the control: version 1 of the protocol ---


@asynccontextmanager
async def version_1(world: World) -> AsyncIterator[AIOKafkaProducer]:
    """aiokafka's producer; one that fails is dropped as it stands."""
    producer = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap, transactional_id=f"test-{uuid4()}", retry_backoff_ms=20
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def error_v0(end_txn_answer: bytes) -> int:
    """After size, correlation id and throttle time."""
    (code,) = struct.unpack_from(">h", end_txn_answer, 12)
    return int(code)


@LATE
async def test_in_version_1_a_late_abort_loses_a_write_whose_commit_is_acknowledged(world: World, late: Late) -> None:
    gate = Gate()
    async with version_1(world) as producer:
        world.kafka.proxy.rules.append(Rule(late(gate), Api.END_TXN))
        await producer.begin_transaction()
        await producer.send_and_wait(world.rows, b"1", partition=0)
        await producer.abort_transaction()

        await producer.begin_transaction()
        await producer.send_and_wait(world.rows, b"2", partition=0)
        assert error_v0(await world.late_answer(gate)) == OK
        await producer.send_offsets_to_transaction({TopicPartition(world.source, 0): 2}, world.group)
        await producer.commit_transaction()  # no error: the offset opened a transaction anew
    assert await world.seen_settled() == ([], [], 2), "not lost? then the broker protects version 1 by now: be glad"
    assert world.was_late(Api.END_TXN, 0)


@LATE
async def test_in_version_1_a_late_commit_shows_half_of_a_transaction_that_is_then_aborted(
    world: World, late: Late
) -> None:
    gate = Gate()
    async with version_1(world) as producer:
        world.kafka.proxy.rules.append(Rule(late(gate), Api.END_TXN))
        async with producer.transaction():
            await producer.send_and_wait(world.rows, b"1", partition=0)

        await producer.begin_transaction()
        await producer.send_and_wait(world.rows, b"2", partition=0)
        assert error_v0(await world.late_answer(gate)) == OK
        assert await world.seen_settled() == ([b"1", b"2"], [], None), "torn: its other half is not even sent"
        await producer.send_and_wait(world.results, b"2", partition=0)
        await producer.abort_transaction()  # no error here either
    assert await world.seen_settled() == ([b"1", b"2"], [], None), "an aborted write stays to be read"
    assert world.was_late(Api.END_TXN, 0)


async def test_in_version_1_the_broker_refuses_only_what_goes_on_in_the_same_partition(world: World) -> None:
    gate = Gate()
    async with version_1(world) as producer:
        world.kafka.proxy.rules.append(Rule(Repeat(gate), Api.END_TXN))
        async with producer.transaction():
            await producer.send_and_wait(world.rows, b"1", partition=0)

        await producer.begin_transaction()
        await producer.send_and_wait(world.rows, b"2", partition=0)
        assert error_v0(await world.late_answer(gate)) == OK
        await world.seen_settled()  # until the late end is written down it refuses not even that
        with pytest.raises(InvalidTxnState):
            await producer.send_and_wait(world.rows, b"2 goes on", partition=0)
    assert await world.seen_settled() == ([b"1", b"2"], [], None)


# --- ours: version 2 ---


@asynccontextmanager
async def version_2(world: World) -> AsyncIterator[PartitionWriter]:
    """The engine's own writer, ready to write."""
    writer = PartitionWriter(world.kafka.bootstrap, world.group, TP(world.source, 0), world.rows)
    try:
        await writer.fence()
        yield writer
    finally:
        await writer.close()


def changes(world: World, number: int) -> Changes:
    value, now_ms = b"%d" % number, time.time_ns() // 1_000_000  # a broker deletes what looks a week old
    return Changes({b"row": value}, [Result(world.results, b"key", value, timestamp_ms=now_ms)])


def error_v5(end_txn_answer: bytes) -> int:
    """After size, correlation id, no tags and throttle time."""
    (code,) = struct.unpack_from(">h", end_txn_answer, 13)
    return int(code)


def exactly(count: int) -> Seen:
    """So many transactions, each with all its parts."""
    values = [b"%d" % number for number in range(1, count + 1)]
    return Seen(values, values, count)


#: Where the second transaction stands when the late request arrives: before this request of its own.
BEFORE = pytest.mark.parametrize("before", [Api.PRODUCE, Api.TXN_OFFSET_COMMIT, Api.END_TXN], ids=lambda api: api.name)
VERSIONS = {Api.INIT_PRODUCER_ID: 5, Api.PRODUCE: 12, Api.TXN_OFFSET_COMMIT: 5, Api.END_TXN: 5}


@LATE
@BEFORE
@pytest.mark.parametrize("api", [Api.PRODUCE, Api.TXN_OFFSET_COMMIT, Api.END_TXN], ids=lambda api: api.name)
async def test_in_version_2_a_late_request_does_not_touch_the_next_transaction(
    world: World, api: Api, before: Api, late: Late
) -> None:
    proxy, gate, held = world.kafka.proxy, Gate(), Gate()
    async with version_2(world) as writer:
        proxy.rules.append(Rule(late(gate), api))
        await writer.hand_over(changes(world, 1), 1, NOBODY)
        assert await world.seen_settled() == exactly(1)

        proxy.rules.append(Rule(Hold(held), before))
        second = asyncio.create_task(writer.hand_over(changes(world, 2), 2, NOBODY))
        await asyncio.wait_for(held.reached.wait(), 10)
        answer = await world.late_answer(gate)
        if api is Api.END_TXN and before is not Api.PRODUCE:
            assert error_v5(answer) == PRODUCER_FENCED
        assert await world.seen() == exactly(1)
        held.open()
        await second
        assert await world.seen_settled() == exactly(2)
        await writer.hand_over(changes(world, 3), 3, NOBODY)
    assert await world.seen_settled() == exactly(3)
    assert world.was_late(api, VERSIONS[api])
    assert proxy.happened("let go", before)


@pytest.mark.parametrize("api", [Api.PRODUCE, Api.TXN_OFFSET_COMMIT], ids=lambda api: api.name)
async def test_in_version_2_a_copy_within_its_own_transaction_doubles_nothing(world: World, api: Api) -> None:
    proxy, gate, held = world.kafka.proxy, Gate(), Gate()
    async with version_2(world) as writer:
        proxy.rules += [Rule(Repeat(gate), api), Rule(Hold(held), Api.END_TXN)]
        first = asyncio.create_task(writer.hand_over(changes(world, 1), 1, NOBODY))
        await asyncio.wait_for(held.reached.wait(), 10)
        await world.late_answer(gate)
        held.open()
        await first
        assert await world.seen_settled() == exactly(1)
        await writer.hand_over(changes(world, 2), 2, NOBODY)
    assert await world.seen_settled() == exactly(2)
    assert world.was_late(api, VERSIONS[api])


@pytest.mark.parametrize("api", VERSIONS, ids=lambda api: api.name)
async def test_in_version_2_a_lost_answer_costs_nothing_and_doubles_nothing(world: World, api: Api) -> None:
    world.kafka.proxy.rules.append(Rule(LoseResponse(), api))
    async with version_2(world) as writer:
        for number in (1, 2, 3):
            await writer.hand_over(changes(world, number), number, NOBODY)
    assert await world.seen_settled() == exactly(3)
    assert len(world.kafka.proxy.happened("response lost", api)) == 1
    assert world.kafka.proxy.seen[api, VERSIONS[api]] >= (2 if api is Api.INIT_PRODUCER_ID else 4)
