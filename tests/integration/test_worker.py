"""The worker against a real Kafka: what it publishes, shows, and refuses."""

import asyncio
import json
import signal
import socket
import time
import urllib.request
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from broker.admin import connected, ensure_topics
from schemas.codec import decode
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.integration.processes import worker
from tests.unit.processors.records import LIQUIDATIONS, TRADES, frame, item

# Of this day, as a broker deletes records whose timestamps are older than the topic's retention.
NOW_MS = int(time.time() * 1000) - 600_000
M = NOW_MS - NOW_MS % 60_000

METRICS = (
    "frames_total", "records_total", "rejected", "late_total", "watermark_delay_seconds", "lag_records",
    "connections_total", "batch_records_sum", "transaction_seconds_count",
)  # fmt: skip


@pytest.fixture
def prefix():
    return f"worker-{uuid.uuid4().hex[:8]}"


async def make_topics(broker, prefix):
    topics = Topics(prefix)
    async with connected(broker) as client:
        await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs([parse_duration("1m")])])
    return topics


async def write(broker, topics, *frames):
    async with AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True) as producer:
        for one in frames:
            topic = topics.raw_liquidations if one.key == LIQUIDATIONS.encode() else topics.raw_trades
            await producer.send_and_wait(topic, one.value, key=one.key, timestamp_ms=one.timestamp)


async def read(broker, topic, count, seconds_max=20):
    """Return the first `count` committed messages, and fail if there are more."""
    async with AIOKafkaConsumer(
        bootstrap_servers=broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign([TopicPartition(topic, p) for p in range(4)])
        found = []
        async with asyncio.timeout(seconds_max):
            while len(found) < count:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    found += messages
        for messages in (await consumer.getmany(timeout_ms=500)).values():
            found += messages
        assert len(found) == count
        return found


async def test_finals_reach_their_topic_and_the_table_shows_open_windows_first(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    async with worker(broker, tmp_path, prefix) as running:
        await running.until_ready()
        await write(broker, topics, frame(item(M, 3.0)), frame(item(M + 70_000, 5.0, side=2)))
        (message,) = await read(broker, topics.liquidation_volume("1m"), 1)
        assert (message.key, decode("liquidation_volume", message.value)["long_usd"]) == (b"BTC", 3.0)
        assert message.timestamp == M + 70_000
        status, body = await running.json("/liquidations/BTC/")
        assert (status, body["asset"]) == (200, "BTC")
        assert [(w["final"], w["window_start"], w["long_usd"], w["short_usd"]) for w in body["windows"]] == [
            (False, M + 60_000, 0.0, 5.0), (True, M, 3.0, 0.0),
        ]  # fmt: skip
        assert await running.stop() == 0


async def test_the_web_routes_answer_as_the_contract_says(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    other = TRADES.replace("10000", "50000")
    await write(broker, topics, frame(item(M)), frame(item(M), channel=TRADES), frame(item(M, 2.0), channel=other))
    async with worker(broker, tmp_path, prefix) as running:
        await running.until_ready()
        await running.until("/imbalance/", lambda status, body: len(body.get("windows", ())) == 2)
        await running.until("/liquidations/", lambda status, body: len(body.get("windows", ())) == 1)
        status, body = await running.json("/imbalance/Binance/BTCUSDT/")
        assert status == 200
        assert {(w["min_vol_usd"], w["sell_usd"]) for w in body["windows"]} == {(10_000.0, 1.0), (50_000.0, 2.0)}
        assert (await running.json("/liquidations/"))[1]["windows"][0]["asset"] == "BTC"
        for path in ("/liquidations/NOPE/", "/imbalance/Binance/NOPE/", "/imbalance/Nope/BTCUSDT/"):
            status, headers, content = await running.get(path)
            assert (status, headers["Content-Type"]) == (404, "application/json")
            assert "error" in json.loads(content)
        for query in ("windows=0", "windows=10001", "windows=x", "windows=-1", "windows=", "limit=3", "windows=%C2%B2"):
            assert (await running.json(f"/liquidations/BTC/?{query}"))[0] == 400, query
        assert (await running.json("/health"))[0] == 200
        status, _, metrics = await running.get("/metrics")
        assert status == 200
        for name in METRICS:
            assert f"coinglass_{name}" in metrics.decode(), name
        status, headers, _ = await running.get("/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_what_cannot_be_counted_reaches_the_dead_letters_as_it_came(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    bad = frame(item(M, side=7), item(M, 2.0), received=M)
    async with worker(broker, tmp_path, prefix) as running:
        await write(broker, topics, bad, frame(item(M + 70_000)))
        (letter,) = await read(broker, topics.dead_letters, 1)
        (final,) = await read(broker, topics.liquidation_volume("1m"), 1)
        assert await running.stop() == 0
    headers = {name: value.decode() for name, value in letter.headers}
    assert (letter.key, letter.value, letter.timestamp) == (bad.key, bad.value, M)
    assert (headers["error.reason"], headers["error.records"]) == ("bad-record", "[0]")
    assert (headers["source.topic"], headers["source.offset"]) == (topics.raw_liquidations, "0")
    assert decode("liquidation_volume", final.value)["long_usd"] == 2.0


async def test_a_worker_that_stopped_counts_everything_once_when_it_is_back(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    await write(broker, topics, *(frame(item(M + i, 1.0)) for i in range(100)))
    async with worker(broker, tmp_path, prefix, "--member", "one") as running:
        await running.until_ready()
        await running.until("/liquidations/BTC/", lambda status, body: status == 200)
        assert await running.stop() == 0
    await write(broker, topics, *(frame(item(M + i, 1.0)) for i in range(100)), frame(item(M + 70_000)))
    async with worker(broker, tmp_path, prefix, "--member", "one"):
        (message,) = await read(broker, topics.liquidation_volume("1m"), 1)
        assert decode("liquidation_volume", message.value)["long_count"] == 200


async def test_either_of_two_workers_answers_for_both_and_goes_on_when_one_is_killed(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    channels = [f"futures_trades@Binance_{asset}USDT@0" for asset in "ABCDEFGHIJKLMNOP"]

    async def counted(running):
        """Return how many trades of each market a worker shows; never are there fewer markets than there were."""
        status, body = await running.json("/imbalance/?windows=1")
        assert status == 200
        assert len(body["windows"]) in (0, len(channels))
        return body.get("stale_ms"), [window["sell_count"] for window in body["windows"]]

    async with worker(broker, tmp_path, prefix) as one, worker(broker, tmp_path, prefix) as two:
        await asyncio.gather(one.until_ready(), two.until_ready())
        await write(broker, topics, *(frame(item(M, 1.0), channel=c) for c in channels))
        for running in (one, two):
            await running.until(
                "/imbalance/?windows=1", lambda status, body: len(body.get("windows", ())) == len(channels)
            )
            for channel in channels:
                status, body = await running.json(f"/imbalance/Binance/{channel.split('_')[2].split('@')[0]}/")
                assert (status, len(body["windows"])) == (200, 1)
        stream = await asyncio.to_thread(urllib.request.urlopen, f"{two.web}/events", timeout=10)

        assert await one.stop(signal.SIGKILL) == -signal.SIGKILL
        await write(broker, topics, *(frame(item(M + 1, 1.0), channel=c) for c in channels))
        stale = []
        async with asyncio.timeout(30):
            while (found := await counted(two)) != (None, [2] * len(channels)):
                stale.append(found[0])
                await asyncio.sleep(0.1)
        assert max(filter(None, stale)) > 4_000  # the dead one was missed after six seconds
        told = await asyncio.to_thread(markets_told, stream, [c.split("@")[1] for c in channels])
        assert told == {c.split("@")[1]: 2 for c in channels}

        await write(broker, topics, *(frame(item(M + 70_000), channel=c) for c in channels))
        finals = await read(broker, topics.trade_imbalance("1m"), len(channels), 40)
        assert sorted(m.key.decode() for m in finals) == channels
        assert [decode("trade_imbalance", m.value)["sell_count"] for m in finals] == [2] * len(channels)
        assert await two.stop() == 0


def markets_told(stream, markets):
    """Read events until each market was told with two trades; return the trades last told of each."""
    told = {}
    while set(told) != set(markets) or set(told.values()) != {2}:
        line = stream.readline()
        assert line
        if line.startswith(b'data: {"liquidations"'):
            for window in json.loads(line[6:])["imbalance"]:
                told[f"{window['exchange']}_{window['symbol']}"] = window["sell_count"]
    return told


async def test_with_a_registry_values_are_in_the_confluent_wire_format(broker, registry_url, tmp_path, prefix):
    from schema_registry.client import SchemaRegistryClient

    topics = await make_topics(broker, prefix)
    async with worker(broker, tmp_path, prefix, "--schema-registry", registry_url):
        await write(broker, topics, frame(item(M, 3.0)), frame(item(M + 70_000)), frame(item(M, 4.0)))
        (final,) = await read(broker, topics.liquidation_volume("1m"), 1)
        (late,) = await read(broker, topics.late, 1)
    client = SchemaRegistryClient(url=registry_url)
    for message, name in ((final, "LiquidationVolume"), (late, "LateRecord")):
        assert message.value[:1] == b"\x00"
        schema = await asyncio.to_thread(client.get_by_id, int.from_bytes(message.value[1:5], "big"))
        assert schema.name.endswith(name)
        registered = await asyncio.to_thread(client.get_schema, f"{message.topic}-value")
        assert registered.schema_id == int.from_bytes(message.value[1:5], "big")
    assert decode("late_record", late.value)["vol_usd"] == 4.0


async def test_other_settings_on_the_same_state_are_refused_with_one_line_and_status_2(broker, tmp_path, prefix):
    topics = await make_topics(broker, prefix)
    await write(broker, topics, frame(item(M)))
    async with worker(broker, tmp_path, prefix) as running:
        await running.until("/liquidations/BTC/", lambda status, body: status == 200)
        await running.stop()
    async with worker(broker, tmp_path, prefix, "--grace", "7s", "--log-level", "error") as running:
        assert await running.ended() == 2
        assert running.log.read_text().count("\n") == 1
        assert "new --app-id" in running.log.read_text()


async def test_a_web_port_that_is_taken_is_one_line_and_status_1(broker, tmp_path, prefix):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with worker(broker, tmp_path, prefix, "--web-port", str(port)) as running:
            assert await running.ended() == 1
    assert running.log.read_text().count("\n") == 1
    assert "choose another port with --web-port" in running.log.read_text()
