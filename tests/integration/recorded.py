"""A recorded stretch of the feed for replays: hostile in all ways the contract names, and the same every time."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import Topics
from tests.integration.processes import environment
from tests.oracle import OracleSettings, expect
from tests.unit.processors.records import LIQUIDATIONS, frame, item, mark

CHANNELS = (LIQUIDATIONS, "futures_trades@Binance_BTCUSDT@10000", "futures_trades@Gate_BTC_USDT@0")
WINDOWS = (("10s", 10_000), ("1m", 60_000))
SECONDS = 240
GAP = range(100, 125)  # seconds without a connection
TWICE = range(30, 90)  # seconds in which a second connection of a redundant group brings all of it once more
WHY = "the feed closed the connection (1001 going away)"


def recording(begin_ms, seed=6):
    """Return (topic's suffix, partition or None, record), by receive time."""
    chance, out = random.Random(seed), []
    for second in range(SECONDS):
        if second in GAP:
            continue
        now_ms = begin_ms + second * 1_000
        connection = "one" if second < GAP.start else "two"
        kind = {0: "up", GAP.start - 1: "down", GAP.stop: "up"}.get(second, "alive")
        marks = [_with_headers(mark(kind, now_ms, connection=connection, channels=CHANNELS), group="g", why=WHY)]
        if second in TWICE:
            kind = {TWICE.start: "up", TWICE.stop - 1: "down"}.get(second, "alive")
            twin = mark(kind, now_ms, connection="twin", channels=CHANNELS)
            marks.append(_with_headers(twin, group="g", why="the producer was stopped"))
        for suffix in ("raw.liquidations", "raw.trades"):
            out += [(suffix, partition, one) for one in marks for partition in range(4)]
        for number in range(8):
            received_ms = now_ms + number * 100 + 50
            if second == 60 and number == 3:
                received_ms -= 400  # a clock went back
            suffix, one = _frame(chance, received_ms, second * 8 + number)
            one.timestamp = received_ms
            out.append((suffix, None, _with_headers(one, connection=connection, sequence=str(second * 8 + number))))
            if second in TWICE:
                out.append((suffix, None, _with_headers(replace(one), connection="twin", sequence="0")))
    return out


def _with_headers(record, **headers):
    record.headers = tuple((name, text.encode()) for name, text in headers.items())
    return record


def _frame(chance, now_ms, number):
    channel = chance.choice(CHANNELS)
    suffix = "raw.liquidations" if channel == LIQUIDATIONS else "raw.trades"
    items = [
        item(
            now_ms - chance.randrange(1_500), round(chance.lognormvariate(8, 2), 5), chance.choice((1, 2)),
            round(chance.uniform(1, 9e4), 3), chance.choice(("BTC", "ETH", "SOL")),
        )
        for _ in range(chance.choice((1, 1, 2, 5)))
    ]  # fmt: skip
    if number % 17 == 0:
        items[0]["time"] -= 80_000  # late
    if number % 29 == 0:
        items.append(item(now_ms, side=3))
    if number % 31 == 0:
        items.append(item(now_ms + 120_000))
    made = frame(*items, channel=channel)
    if number % 37 == 0:
        made.value = made.value[:-7]
    if number % 41 == 0:
        made.value = json.dumps({"channel": "futures_trades@nowhere", "data": []}).encode()
    return suffix, made


async def write(broker, prefix, records):
    """Append records to the raw topics of a prefix, in their order."""
    async with AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, linger_ms=20) as producer:
        sent = [
            await producer.send(
                f"{prefix}.{suffix}", one.value, key=one.key, partition=partition, timestamp_ms=one.timestamp,
                headers=list(one.headers),
            )
            for suffix, partition, one in records
        ]  # fmt: skip
        await asyncio.gather(*sent)


async def read(broker, *topics):
    """Return all committed records of topics, by partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=broker, isolation_level="read_committed", auto_offset_reset="none", fetch_max_wait_ms=50
    ) as consumer:
        tps = [
            TopicPartition(topic, number)
            for topic in topics
            for number in range(1 if topic.endswith(".feed-gaps") else 4)
        ]
        consumer.assign(tps)
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        found = {tp: [] for tp in tps}
        for tp in tps:
            consumer.seek(tp, begins[tp])
        async with asyncio.timeout(20):
            while behind := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=100)).items():
                    found[tp] += records
    return found


async def all_committed(broker, prefix, group):
    """Whether a group's offsets are at the ends of its raw topics: its finals, gaps and dead letters are all there."""
    topics = Topics(prefix)
    async with AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, n) for topic in topics.raw for n in range(4)])
        return all([(await consumer.committed(tp) or 0) >= end for tp, end in ends.items()])


def finals_topics(prefix):
    return [f"{prefix}.{name}.{window}" for name in ("liquidation-volume", "trade-imbalance") for window, _ in WINDOWS]


async def finals(broker, prefix):
    """Return the published finals, sorted: (topic without prefix, key, value, timestamp)."""
    found = await read(broker, *finals_topics(prefix))
    return sorted(
        (tp.topic.removeprefix(prefix), one.key, one.value, one.timestamp) for tp, some in found.items() for one in some
    )


async def expected(broker, prefix):
    """Return the finals that the oracle computes from the raw topics: (topic without prefix, key, values).

    It knows nothing of redundant connections, and is not shown what the second of them brought.
    """
    found = await read(broker, f"{prefix}.raw.liquidations", f"{prefix}.raw.trades")
    found = {tp: [one for one in some if ("connection", b"twin") not in one.headers] for tp, some in found.items()}
    settings = OracleSettings(WINDOWS, prefix=prefix)
    return [
        (final.topic.removeprefix(prefix), final.key, final.value)
        for records in found.values()
        for some in expect(records, settings).finals.values()
        for final in some
    ]


async def start(subcommand, *arguments, **more):
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coinglass_streams", subcommand, *map(str, arguments),
        stdout=PIPE, stderr=PIPE, env=environment(), **more,
    )  # fmt: skip


async def run(subcommand, *arguments, **more):
    """Run the command to its end: status, standard output, standard error."""
    process = await start(subcommand, *arguments, **more)
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    return process.returncode, out, errors.decode()
