"""The proxy that fault tests put before a broker: each unkindness, with real clients."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import RequestTimedOutError

from broker.admin import connected, ensure_topics
from schemas.topics import TopicSpec
from tests.conftest import ProxiedKafka
from tests.fault.proxy import After, Api, Gate, Hold, LoseRequest, LoseResponse, Repeat, Request, Rule, Stray
from tests.integration.reading import values


async def make_topic(kafka: ProxiedKafka) -> str:
    name = f"test-{uuid4()}"
    async with connected(kafka.direct) as client:
        await ensure_topics(client, [TopicSpec(name, 1)])
    return name


@asynccontextmanager
async def producing(bootstrap: str, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", retry_backoff_ms=20, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_a_held_request_gets_its_answer_when_it_is_let_go(proxied_kafka: ProxiedKafka) -> None:
    topic, gate = await make_topic(proxied_kafka), Gate()
    async with producing(proxied_kafka.bootstrap) as producer:
        proxied_kafka.proxy.rules.append(Rule(Hold(gate), Api.PRODUCE))
        sending = asyncio.create_task(producer.send_and_wait(topic, b"held", partition=0))
        await gate.reached.wait()
        await asyncio.sleep(0.2)
        assert not sending.done()
        assert await values(proxied_kafka.direct, topic) == []
        gate.open()
        await sending
    assert await values(proxied_kafka.direct, topic) == [b"held"]
    (entry,) = proxied_kafka.proxy.happened("let go", Api.PRODUCE)
    assert entry.request is not None
    assert b"held" in entry.request.frame


async def test_a_held_request_arrives_even_when_its_client_has_left(proxied_kafka: ProxiedKafka) -> None:
    topic, gate = await make_topic(proxied_kafka), Gate()
    async with producing(proxied_kafka.bootstrap, request_timeout_ms=500) as producer:
        proxied_kafka.proxy.rules.append(Rule(Hold(gate), Api.PRODUCE))
        with pytest.raises(RequestTimedOutError):
            await producer.send_and_wait(topic, b"orphan", partition=0)
    assert await values(proxied_kafka.direct, topic) == []
    gate.open()
    deadline_s = time.monotonic() + 5
    while await values(proxied_kafka.direct, topic) != [b"orphan"]:
        assert time.monotonic() < deadline_s


async def test_a_delayed_request_takes_that_much_longer(proxied_kafka: ProxiedKafka) -> None:
    topic = await make_topic(proxied_kafka)
    async with producing(proxied_kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"first", partition=0)
        proxied_kafka.proxy.rules.append(Rule(Hold(After(0.4, 0.6)), Api.PRODUCE))
        began_s = time.monotonic()
        await producer.send_and_wait(topic, b"delayed", partition=0)
        assert time.monotonic() - began_s >= 0.4


@pytest.mark.parametrize("fault", [LoseRequest(), LoseResponse()])
async def test_what_is_lost_is_asked_again_and_an_idempotent_producer_doubles_nothing(
    proxied_kafka: ProxiedKafka, fault: LoseRequest | LoseResponse
) -> None:
    topic = await make_topic(proxied_kafka)
    async with producing(proxied_kafka.bootstrap, enable_idempotence=True) as producer:
        proxied_kafka.proxy.rules.append(Rule(fault, Api.PRODUCE))
        await producer.send_and_wait(topic, b"once", partition=0)
    assert await values(proxied_kafka.direct, topic) == [b"once"]
    assert sum(count for (api, _), count in proxied_kafka.proxy.seen.items() if api == Api.PRODUCE) == 2
    what = "request lost" if isinstance(fault, LoseRequest) else "response lost"
    assert len(proxied_kafka.proxy.happened(what, Api.PRODUCE)) == 1


async def test_a_request_is_lost_before_the_broker_and_a_response_after_it(proxied_kafka: ProxiedKafka) -> None:
    for fault, expected in ((LoseRequest(), [b"value"]), (LoseResponse(), [b"value", b"value"])):
        topic = await make_topic(proxied_kafka)
        async with producing(proxied_kafka.bootstrap) as producer:
            proxied_kafka.proxy.rules.append(Rule(fault, Api.PRODUCE))
            await producer.send_and_wait(topic, b"value", partition=0)
        assert await values(proxied_kafka.direct, topic) == expected


@pytest.mark.parametrize("kind", [Repeat, Stray])
async def test_a_copy_of_a_request_reaches_the_broker_when_told(
    proxied_kafka: ProxiedKafka, kind: type[Repeat] | type[Stray]
) -> None:
    topic, gate = await make_topic(proxied_kafka), Gate()
    async with producing(proxied_kafka.bootstrap) as producer:
        proxied_kafka.proxy.rules.append(Rule(kind(gate), Api.PRODUCE))
        await producer.send_and_wait(topic, b"early", partition=0)
        await producer.send_and_wait(topic, b"between", partition=0)
        assert await values(proxied_kafka.direct, topic) == [b"early", b"between"]
        gate.open()
        await asyncio.wait_for(proxied_kafka.proxy.late_answers.get(), 5)
    assert await values(proxied_kafka.direct, topic) == [b"early", b"between", b"early"]
    assert len(proxied_kafka.proxy.happened("delivered late", Api.PRODUCE)) == 1


TRANSACTIONAL = [
    Api.INIT_PRODUCER_ID,
    Api.ADD_PARTITIONS_TO_TXN,
    Api.PRODUCE,
    Api.ADD_OFFSETS_TO_TXN,
    Api.TXN_OFFSET_COMMIT,
    Api.END_TXN,
]


@pytest.mark.parametrize("api", TRANSACTIONAL, ids=lambda api: api.name)
async def test_a_transaction_survives_the_loss_of_any_one_response(proxied_kafka: ProxiedKafka, api: Api) -> None:
    topic = await make_topic(proxied_kafka)
    proxied_kafka.proxy.rules.append(Rule(LoseResponse(), api))
    own_id = f"test-{uuid4()}"
    async with producing(proxied_kafka.bootstrap, transactional_id=own_id) as producer, producer.transaction():
        await producer.send_and_wait(topic, b"value", partition=0)
        await producer.send_offsets_to_transaction({TopicPartition(topic, 0): 1}, own_id)
    assert await values(proxied_kafka.direct, topic) == [b"value"]
    assert len(proxied_kafka.proxy.happened("response lost", api)) == 1


async def test_a_member_whose_heartbeats_are_lost_stays_in_its_group(proxied_kafka: ProxiedKafka) -> None:
    topic = await make_topic(proxied_kafka)
    proxied_kafka.proxy.rules.append(Rule(LoseRequest(), Api.HEARTBEAT, skip=1, times=2))
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=proxied_kafka.bootstrap,
        group_id=f"test-{uuid4()}",
        heartbeat_interval_ms=100,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        deadline_s = time.monotonic() + 10
        while len(proxied_kafka.proxy.happened("request lost", Api.HEARTBEAT)) < 2:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)
        async with producing(proxied_kafka.direct) as producer:
            await producer.send_and_wait(topic, b"value", partition=0)
        assert (await asyncio.wait_for(consumer.getone(), 10)).value == b"value"
    finally:
        await consumer.stop()


async def test_clients_go_on_after_every_connection_was_cut(proxied_kafka: ProxiedKafka) -> None:
    topic = await make_topic(proxied_kafka)
    async with producing(proxied_kafka.bootstrap, enable_idempotence=True) as producer:
        for number in range(3):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
            proxied_kafka.proxy.cut_all()
        await producer.send_and_wait(topic, b"3", partition=0)
    assert await values(proxied_kafka.direct, topic) == [b"0", b"1", b"2", b"3"]
    assert sum(entry.what.startswith("cut ") for entry in proxied_kafka.proxy.journal) == 3


async def test_frozen_nothing_passes_either_way_and_thawed_everything_does(proxied_kafka: ProxiedKafka) -> None:
    topic = await make_topic(proxied_kafka)
    async with producing(proxied_kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        proxied_kafka.proxy.freeze()
        sending = asyncio.create_task(producer.send_and_wait(topic, b"frozen", partition=0))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.5)
        assert not sending.done()
        assert await values(proxied_kafka.direct, topic) == [b"before"]
        proxied_kafka.proxy.thaw()
        await asyncio.wait_for(sending, 5)
    assert await values(proxied_kafka.direct, topic) == [b"before", b"frozen"]


async def test_throttled_bytes_take_their_time(proxied_kafka: ProxiedKafka) -> None:
    topic = await make_topic(proxied_kafka)
    async with producing(proxied_kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"first", partition=0)
        proxied_kafka.proxy.bytes_per_second = 100_000
        began_s = time.monotonic()
        await producer.send_and_wait(topic, bytes(50_000), partition=0)
        assert 0.5 <= time.monotonic() - began_s < 5


async def test_a_broker_that_is_down_refuses_and_one_that_is_back_serves(proxied_kafka: ProxiedKafka) -> None:
    proxy = proxied_kafka.proxy
    up, proxy.upstream_port = proxy.upstream_port, 1
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
    finally:
        proxy.upstream_port = up
    async with connected(proxied_kafka.bootstrap) as client:
        assert (await client.describe_cluster())["brokers"]


def request(api: Api, number: int = 0) -> Request:
    return Request(1, b"%d" % number, api, 0, number)


def test_a_rule_takes_only_its_api_and_only_so_many_after_those_it_skips() -> None:
    rule = Rule(LoseRequest(), Api.END_TXN, skip=1, times=2)
    random = Random(0)
    assert not rule.takes(request(Api.PRODUCE), random)
    assert [rule.takes(request(Api.END_TXN), random) for _ in range(5)] == [False, True, True, False, False]


def test_a_rule_takes_only_what_it_is_told_to_look_for() -> None:
    rule = Rule(LoseRequest(), Api.END_TXN, where=lambda request: request.frame == b"2")
    assert [rule.takes(request(Api.END_TXN, number), Random(0)) for number in range(4)] == [False, False, True, False]


def test_the_same_seed_chooses_the_same_requests() -> None:
    def chosen(seed: int) -> list[bool]:
        rule, random = Rule(LoseRequest(), Api.END_TXN, times=None, chance=0.3), Random(seed)
        return [rule.takes(request(Api.END_TXN), random) for _ in range(100)]

    assert chosen(1) == chosen(1) != chosen(2)
    assert 15 < sum(chosen(1)) < 45
