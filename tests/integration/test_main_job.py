"""The main job end to end: a feed, a producer, a worker that is stopped and killed on the way, and a real Kafka.

What must come out is computed by `tests/oracle.py` from what stands in the raw topics; what must stand there is what
the feed sent.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sandbox.ports import free_port
from schemas import topics as names
from schemas.codec import decode, encoder, single_object_header
from schemas.topics import MARK_KEY, Topics
from tests.oracle import Expected, Final, OracleSettings, expect

API_KEY = "odd/secret+KEY=42 of mine".replace(" ", "~")
LIQUIDATIONS = "liquidationOrders"
MARKETS = (
    "futures_trades@Binance_BTCUSDT@10000",
    "futures_trades@Binance_BTCUSDT@0",
    "futures_trades@Gate_BTC_USDT@10000.5",
    "futures_trades@OKX_BTC-USDT-SWAP@5000",
    "futures_trades@X_a@b_Ω@5",
    "futures_trades@Y_A/B %2F?#@1",
)
CHANNELS = (LIQUIDATIONS, *MARKETS)
ASSETS = ("BTC", "ETH", "SOL", "Ω", "1000PEPE", "A/B?")
MARKETS_SHOWN = (("Binance", "BTCUSDT"), ("Gate", "BTC_USDT"), ("X", "a@b_Ω"), ("Y", "A/B %2F?#"))
WINDOW = "2s"
FEED_SECONDS = 12.0
FRAMES_PER_SECOND = 300
READY_SECONDS_MAX = 30.0


# --- the feed ---------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """What the feed sent: to stand in a raw topic under `channel`, or in the dead letters for `reason`, or nowhere."""

    payload: bytes
    is_text: bool = True
    channel: str | None = None
    reason: str | None = None


@dataclass
class FeedServer:
    """A WebSocket server with one client at most, which is sent what `send` is given while it is subscribed."""

    sent: list[Sent] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    subscriptions: list[Any] = field(default_factory=list)
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    client: ServerConnection | None = None
    server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}/ws-api"

    async def handle(self, client: ServerConnection) -> None:
        assert client.request is not None
        self.paths.append(client.request.path)
        with contextlib.suppress(ConnectionClosed):
            async for message in client:
                if message == "ping":
                    await client.send("pong")
                    continue
                request = json.loads(message)
                self.subscriptions.append(request)
                if request["method"] == "subscribe":
                    await client.send('{"event":"subscribed","code":0}')
                    self.client = client
                    self.subscribed.set()
                else:
                    self.subscribed.clear()

    async def send(self, message: Sent) -> None:
        await self.subscribed.wait()
        assert self.client is not None
        await self.client.send(message.payload, text=message.is_text)
        self.sent.append(message)

    async def cut(self) -> None:
        """Cut the connection without a word, once all that was sent is read: a ping is answered in its turn."""
        assert self.client is not None
        await (await self.client.ping())
        self.subscribed.clear()
        self.client.transport.abort()


@asynccontextmanager
async def running_feed() -> AsyncIterator[FeedServer]:
    feed = FeedServer()
    async with serve(feed.handle, "127.0.0.1", 0, ping_interval=None) as server:
        feed.server = server
        yield feed


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def good_record(chance: random.Random) -> dict[str, Any]:
    ago_ms = min(int(chance.expovariate(1 / 200)), 1_500)
    return {
        "baseAsset": chance.choice(ASSETS),
        "exName": chance.choice(("Binance", "OKX")),
        "price": round(chance.uniform(0.001, 90_000), chance.randrange(3, 9)),
        "side": chance.choice((1, 2)),
        "symbol": "BTCUSDT",
        "time": now_ms() - ago_ms,
        "volUsd": round(chance.lognormvariate(8, 3), chance.randrange(9)),
    }


def records(chance: random.Random, number: int) -> list[dict[str, Any]]:
    """Records of one frame: every so often late ones, bad ones, early ones."""
    data = [good_record(chance) for _ in range(chance.choice((1, 1, 1, 2, 3, 7)))]
    if number % 20 == 0:
        data[0]["time"] -= 9_000  # late, if anything of the partition is final yet
    if number % 31 == 0:
        data.append({**good_record(chance), "side": 3})
        data.insert(0, {**good_record(chance), "price": -1.5, "time": now_ms() + 999_999})
    if number % 37 == 0:
        data.insert(0, {**good_record(chance), "time": now_ms() + 120_000})
    if number % 41 == 0:
        data[-1]["unheard"] = {"of": [None]}
    if number % 97 == 0:
        data = []
    return data


def message(chance: random.Random, number: int) -> Sent:
    """The feed's next message; one in ten is of a hostile kind."""
    channel = chance.choice((LIQUIDATIONS, LIQUIDATIONS, *MARKETS))
    value = json.dumps({"channel": channel, "data": records(chance, number)}, ensure_ascii=False).encode()
    hostile = {
        3: Sent(b"this is not JSON", reason="malformed"),
        13: Sent(b'{"channel":"liquidationOrders","data":[\xff\xfe]}', reason="malformed"),
        23: Sent(b'{"channel":"liquidationOrders","data":[],"x":"\xc3"}', reason="malformed"),
        33: Sent(b"\x00\x01\xfe\xff", is_text=False, reason="malformed"),
        43: Sent(value, is_text=False, channel=channel),  # binary, and a frame all the same
        53: Sent(b'{"channel":"futures_trades@Binance","data":[]}', reason="unknown-channel"),
        63: Sent(value[: len(value) // 2], reason="malformed"),
        73: Sent(b'{"event":"error","code":500,"msg":"nothing to publish"}'),
        83: Sent(b'{"channel":"liquidationOrders","data":[{"baseAsset":"BTC"}]}', channel=LIQUIDATIONS),
        93: Sent(b'{ "data" : [ {"side":1.0} ],"channel":"%b"}' % MARKETS[0].encode(), channel=MARKETS[0]),
    }
    return hostile.get(number % 100, Sent(value, channel=channel))


# --- the commands -----------------------------------------------------------------------------------------------------


@dataclass
class Commands:
    """Starts the command's subcommands, and keeps all that they say."""

    folder: Path
    broker: str
    prefix: str
    logs: list[Path] = field(default_factory=list)
    running: list[Process] = field(default_factory=list)

    async def start(self, subcommand: str, *arguments: str) -> Process:
        log = self.folder / f"{len(self.logs)}-{subcommand}.log"
        self.logs.append(log)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
        if subcommand == "produce":
            environment["COINGLASS_API_KEY"] = API_KEY
        shared = ("--broker", self.broker, "--topic-prefix", self.prefix, "--log-level", "debug")
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "coinglass_streams", subcommand, *shared, *arguments),
                env=environment,
                stdout=out,
                stderr=out,
                cwd=self.folder,
            )
        self.running.append(process)
        return process

    async def produce(self, url: str) -> Process:
        channels = [argument for channel in CHANNELS for argument in ("--channel", channel)]
        return await self.start("produce", "--url", url, "--mark-every", "500ms", *channels)

    async def process(self, app_id: str, web_port: int) -> Process:
        delays = ("--window", WINDOW, "--grace", "1s", "--mark-delay", "2s")
        where = ("--state-dir", str(self.folder / app_id), "--web-port", str(web_port))
        return await self.start("process", "--app-id", app_id, "--member", "only", *where, *delays)

    def tail(self) -> str:
        """The end of each log, for a failure's message."""
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2_000:]}" for log in self.logs)


async def ended(process: Process, seconds_max: float = 20.0) -> int:
    async with asyncio.timeout(seconds_max):
        return await process.wait()


async def get(port: int, path: str) -> tuple[int, bytes]:
    def fetch() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(fetch)


async def ready(port: int, commands: Commands) -> None:
    """Wait until the worker is ready."""
    began = time.monotonic()
    while time.monotonic() - began < READY_SECONDS_MAX:
        with contextlib.suppress(OSError):
            status, _ = await get(port, "/ready")
            if status == 200:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"the worker was not ready within {READY_SECONDS_MAX} s\n{commands.tail()}")


def secrets_in_command_lines() -> list[str]:
    """Names of processes that show the key to everybody on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if shows_key(path.read_bytes()):
                found.append(str(path))
    return found


def shows_key(text: bytes) -> bool:
    return API_KEY.encode() in text or urllib.parse.quote(API_KEY, safe="").encode() in text


# --- Kafka ------------------------------------------------------------------------------------------------------------


async def read_all(
    broker: str, topics: Iterable[str], begin: Mapping[TopicPartition, int] | None = None
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """All committed records by partition, from `begin` on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, isolation_level="read_committed", auto_offset_reset="none")
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for topic in topics for number in range(names.DEFAULT_PARTITIONS)]
        found: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
        consumer.assign(list(found))
        ends = await consumer.end_offsets(list(found))
        begins = await consumer.beginning_offsets(list(found))
        for partition in found:
            consumer.seek(partition, (begin or begins)[partition])
        async with asyncio.timeout(20):
            while any([await consumer.position(partition) < ends[partition] for partition in found]):
                for partition, batch in (await consumer.getmany(timeout_ms=200)).items():
                    found[partition] += batch
        return found
    finally:
        await consumer.stop()


async def end_offsets(broker: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, isolation_level="read_committed")
    await consumer.start()
    try:
        offsets: dict[TopicPartition, int] = await consumer.end_offsets(list(partitions))
        return offsets
    finally:
        await consumer.stop()


class Output(NamedTuple):
    """A record of an output topic, or one that should be; sorted by where it comes from, then as published."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    dead: tuple[str, str, str] | None = None  # error.reason, error.records, source.offset


#: Output topic and partition, and the raw topic and partition its records come from: between two sources there is
#: no order, within one there is.
Stream = tuple[str, int, str, int]


@dataclass
class Run:
    """One run of the main job, over."""

    commands: Commands
    topics: Topics
    broker: str
    sent: list[Sent]
    paths: list[str]
    subscriptions: list[Any]
    raw: dict[TopicPartition, list[ConsumerRecord]]
    outputs: dict[TopicPartition, list[ConsumerRecord]]
    statuses: dict[str, int]
    pages: dict[str, tuple[int, bytes]]
    shown_keys: list[str]

    @property
    def expected_by_source(self) -> dict[TopicPartition, Expected]:
        wanted = OracleSettings(((WINDOW, 2_000),), grace_ms=1_000, mark_delay_ms=2_000, prefix=self.topics.prefix)
        return {partition: expect(raw, wanted) for partition, raw in self.raw.items()}

    def expected_streams(self) -> dict[Stream, list[Output]]:
        """What the oracle says, as it must stand on the output topics."""
        streams: dict[Stream, list[Output]] = {}
        for source, expected in self.expected_by_source.items():
            for final in [*(f for finals in expected.finals.values() for f in finals), *expected.late]:
                output = Output(final.key, encoded(final), final.timestamp_ms)
                stream = (final.topic, partition_of(final.key), source.topic, source.partition)
                streams.setdefault(stream, []).append(output)
            for letter in expected.dead:
                assert letter.key is not None
                dead = (letter.reason, json.dumps(letter.indexes, separators=(",", ":")), str(letter.source[2]))
                stream = (letter.topic, partition_of(letter.key), source.topic, source.partition)
                streams.setdefault(stream, []).append(Output(letter.key, letter.value, letter.timestamp_ms, dead))
        return streams

    def streams_of(self, outputs: Mapping[TopicPartition, list[ConsumerRecord]]) -> dict[Stream, list[Output]]:
        """What stands on the output topics, but for the producer's own dead letters."""
        source_of_channel = {
            record.key: partition for partition, raw in self.raw.items() for record in raw if record.key != MARK_KEY
        }
        streams: dict[Stream, list[Output]] = {}
        for partition, published in outputs.items():
            for record in published:
                output = Output(record.key, record.value, record.timestamp)
                if record.topic == self.topics.dead_letters:
                    headers = dict(record.headers)
                    if names.HEADER_SOURCE_TOPIC not in headers:
                        continue
                    source_topic = headers[names.HEADER_SOURCE_TOPIC].decode()
                    source = TopicPartition(source_topic, int(headers[names.HEADER_SOURCE_PARTITION]))
                    assert int(headers[names.HEADER_SOURCE_TIMESTAMP]) == record.timestamp
                    of_dead = (names.HEADER_REASON, names.HEADER_RECORDS, names.HEADER_SOURCE_OFFSET)
                    reason, indexes, offset = (headers[name].decode() for name in of_dead)
                    output = output._replace(dead=(reason, indexes, offset))
                elif record.topic == self.topics.liquidation_volume(WINDOW):
                    source = source_of_channel[LIQUIDATIONS.encode()]
                else:
                    source = source_of_channel[record.key]
                stream = (record.topic, partition.partition, source.topic, source.partition)
                streams.setdefault(stream, []).append(output)
        return streams


def encoded(final: Final) -> bytes:
    return encoder(final.schema, single_object_header(final.schema))(final.value)


def partition_of(key: bytes) -> int:
    return int(DefaultPartitioner()(key, list(range(names.DEFAULT_PARTITIONS)), list(range(names.DEFAULT_PARTITIONS))))


# --- the run ----------------------------------------------------------------------------------------------------------


async def send_for(feed: FeedServer, chance: random.Random, seconds: float, first: int) -> int:
    """Send messages at a steady rate; return the number of the next one."""
    began, number = time.monotonic(), first
    while (elapsed := time.monotonic() - began) < seconds:
        while number - first < elapsed * FRAMES_PER_SECOND:
            await feed.send(message(chance, number))
            number += 1
        await asyncio.sleep(0.01)
    return number


async def produce_while_workers_come_and_go(
    feed: FeedServer, commands: Commands, web_port: int, statuses: dict[str, int]
) -> list[str]:
    """Stop the first worker, kill the second, cut the feed once; leave the third running. Return who shows the key."""
    chance = random.Random(20240904)
    worker = await commands.process("main-job", web_port)
    producer = await commands.produce(feed.url)
    await ready(web_port, commands)
    async with asyncio.timeout(20):
        await feed.subscribed.wait()
    shown = secrets_in_command_lines()

    number = await send_for(feed, chance, FEED_SECONDS / 4, 0)
    worker.send_signal(signal.SIGTERM)
    number = await send_for(feed, chance, FEED_SECONDS / 4, number)
    statuses["worker stopped"] = await ended(worker)
    worker = await commands.process("main-job", web_port)
    await feed.cut()
    await ready(web_port, commands)
    number = await send_for(feed, chance, FEED_SECONDS / 4, number)
    worker.kill()
    assert await ended(worker) == -signal.SIGKILL
    worker = await commands.process("main-job", web_port)
    await send_for(feed, chance, FEED_SECONDS / 4, number)
    shown += secrets_in_command_lines()
    await ready(web_port, commands)
    await asyncio.sleep(4.5)  # quiet, and up: marks alone close the last windows
    producer.send_signal(signal.SIGTERM)
    statuses["producer stopped"] = await ended(producer)
    return shown


async def settled_outputs(run: Run) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Wait until as much stands on the output topics as should, and a little longer; return it all."""
    topics = run.topics
    results = (topics.liquidation_volume(WINDOW), topics.trade_imbalance(WINDOW), topics.late, topics.dead_letters)
    wanted = sum(map(len, run.expected_streams().values()))
    deadline = time.monotonic() + 20
    while True:
        outputs = await read_all(run.broker, results)
        if sum(map(len, run.streams_of(outputs).values())) >= wanted or time.monotonic() > deadline:
            await asyncio.sleep(1.0)  # what would come twice has come by then
            return await read_all(run.broker, results)
        await asyncio.sleep(0.3)


@pytest.fixture(scope="module")
async def run(broker: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    """The main job, run once for all tests here."""
    topics = Topics(f"main-job-{uuid4().hex[:8]}")
    commands = Commands(tmp_path_factory.mktemp("main-job"), broker, topics.prefix)
    web_port, statuses = free_port(), dict[str, int]()
    try:
        async with running_feed() as feed:
            shown = await produce_while_workers_come_and_go(feed, commands, web_port, statuses)
        raw = await read_all(broker, topics.raw)
        about_feed = (feed.sent, feed.paths, feed.subscriptions)
        over = Run(commands, topics, broker, *about_feed, raw, {}, statuses, {}, shown)
        over.outputs = await settled_outputs(over)
        for path in ("/liquidations/", "/imbalance/", *map(asset_path, ASSETS), *map(market_path, MARKETS_SHOWN)):
            over.pages[path] = await get(web_port, f"{path}?windows=60")
        for path in ("/health", "/ready", "/metrics", "/liquidations/NOSUCH/", "/liquidations/?windows=0"):
            over.pages[path] = await get(web_port, path)
        worker = commands.running[-1]
        worker.send_signal(signal.SIGTERM)
        statuses["worker stopped at the end"] = await ended(worker)
        yield over
    finally:
        for process in commands.running:
            if process.returncode is None:
                process.kill()
                await process.wait()


def test_every_subcommand_ends_with_status_0_when_it_is_told_to(run: Run) -> None:
    stopped = ("worker stopped", "producer stopped", "worker stopped at the end")
    assert run.statuses == dict.fromkeys(stopped, 0), run.commands.tail()


def test_every_frame_that_was_sent_stands_in_its_raw_topic_once_in_order_and_as_it_was(run: Run) -> None:
    assert sum(message.channel is not None for message in run.sent) > 2_000
    assert len(run.paths) == 2  # the feed was cut once
    stands: dict[str, list[bytes]] = {channel: [] for channel in CHANNELS}
    for partition, raw in run.raw.items():
        for record in raw:
            if record.key != MARK_KEY:
                channel = record.key.decode()
                stands[channel].append(record.value)
                is_liquidation = partition.topic == run.topics.raw_liquidations
                assert is_liquidation == (channel == LIQUIDATIONS)
                assert partition.partition == partition_of(record.key)
    for channel, values in stands.items():
        assert values == [message.payload for message in run.sent if message.channel == channel], channel


def test_frames_are_numbered_through_within_their_connection(run: Run) -> None:
    numbers: dict[str, list[int]] = {}
    dead_letters = [r for partition, rs in run.outputs.items() for r in rs if r.topic == run.topics.dead_letters]
    for record in [*(r for rs in run.raw.values() for r in rs if r.key != MARK_KEY), *dead_letters]:
        headers = dict(record.headers)
        if names.HEADER_CONNECTION in headers:
            connection = str(UUID(headers[names.HEADER_CONNECTION].decode()))
            numbers.setdefault(connection, []).append(int(headers[names.HEADER_SEQUENCE]))
    assert len(numbers) == 2
    for sequence in numbers.values():
        assert sorted(sequence) == list(range(len(sequence)))


def test_what_the_producer_cannot_place_stands_in_the_dead_letters_as_it_came(run: Run) -> None:
    letters = [
        (dict(record.headers)[names.HEADER_REASON].decode(), record.value)
        for partition, published in run.outputs.items()
        for record in published
        if record.topic == run.topics.dead_letters and names.HEADER_SOURCE_TOPIC not in dict(record.headers)
    ]
    wanted = [(message.reason, message.payload) for message in run.sent if message.reason is not None]
    assert len(wanted) > 100
    assert Counter(letters) == Counter(wanted)


def test_results_are_those_of_the_oracle_each_exactly_once(run: Run) -> None:
    expected = run.expected_streams()
    actual = run.streams_of(run.outputs)
    assert {stream: len(outputs) for stream, outputs in actual.items()} == {
        stream: len(outputs) for stream, outputs in expected.items()
    }, run.commands.tail()
    for stream, outputs in expected.items():
        assert actual[stream] == outputs, stream
    # The run was worth the name: every kind of result is there.
    published = Counter(stream[0] for stream, outputs in expected.items() for _ in outputs)
    assert published[run.topics.liquidation_volume(WINDOW)] > 25
    assert published[run.topics.trade_imbalance(WINDOW)] > 25
    assert published[run.topics.late] > 50
    reasons = Counter(o.dead[0] for outputs in expected.values() for o in outputs if o.dead is not None)
    assert reasons.keys() == {"malformed", "bad-record", "future-time"}
    shares = [
        final.value["coverage"]
        for expected in run.expected_by_source.values()
        for finals in expected.finals.values()
        for final in finals
    ]
    assert 1.0 in shares
    assert any(0 < share < 1 for share in shares)  # the feed was cut in that window


def test_nothing_that_was_sent_is_missing_from_finals_late_records_dead_letters_and_open_windows(run: Run) -> None:
    sent_records = sum(
        len(json.loads(record.value)["data"])
        for raw in run.raw.values()
        for record in raw
        if record.key != MARK_KEY and b'"side":1.0' not in record.value and b'[{"baseAsset":"BTC"}]' not in record.value
    )
    counted = 0
    for page, counts in (
        ("/liquidations/", ("long_count", "short_count")),
        ("/imbalance/", ("buy_count", "sell_count")),
    ):
        counted += sum(window[name] for window in json.loads(run.pages[page][1])["windows"] for name in counts)
    late = bad = 0
    for (topic, *_), outputs in run.streams_of(run.outputs).items():
        late += len(outputs) if topic == run.topics.late else 0
        bad += sum(len(json.loads(output.dead[1])) for output in outputs if output.dead is not None)
    assert counted + late + bad == sent_records


def test_the_tables_on_the_web_agree_with_the_finals(run: Run) -> None:
    finals: dict[str, list[dict[str, Any]]] = {"liquidation_volume": [], "trade_imbalance": []}
    for (topic, *_), outputs in run.expected_streams().items():
        schema = topic.removeprefix(f"{run.topics.prefix}.").removesuffix(f".{WINDOW}").replace("-", "_")
        if schema in finals:
            finals[schema] += [as_shown(decode(schema, output.value or b"")) for output in outputs]
    assert closed(run.pages["/liquidations/"]) == in_any_order(finals["liquidation_volume"])
    assert closed(run.pages["/imbalance/"]) == in_any_order(finals["trade_imbalance"])
    for asset in ASSETS:
        of_asset = [final for final in finals["liquidation_volume"] if final["asset"] == asset]
        assert of_asset
        assert closed(run.pages[asset_path(asset)]) == in_any_order(of_asset)
    for market in MARKETS_SHOWN:
        of_market = [final for final in finals["trade_imbalance"] if (final["exchange"], final["symbol"]) == market]
        assert of_market
        assert closed(run.pages[market_path(market)]) == in_any_order(of_market)


def asset_path(asset: str) -> str:
    return f"/liquidations/{urllib.parse.quote(asset, safe='')}/"


def market_path(market: tuple[str, str]) -> str:
    exchange, symbol = (urllib.parse.quote(name, safe="") for name in market)
    return f"/imbalance/{exchange}/{symbol}/"


def as_shown(final: dict[str, Any]) -> dict[str, Any]:
    bounds = {name: round(final[name].timestamp() * 1_000) for name in ("window_start", "window_end")}
    return {**final, **bounds, "window": WINDOW, "final": True}


def closed(page: tuple[int, bytes]) -> list[dict[str, Any]]:
    status, body = page
    assert status == 200
    windows = json.loads(body)["windows"]
    assert [window["final"] for window in windows] == sorted(window["final"] for window in windows)  # open ones first
    return in_any_order(window for window in windows if window["final"])


def in_any_order(windows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(windows, key=lambda window: json.dumps(window, sort_keys=True))


def test_health_readiness_metrics_and_errors_answer_as_they_should(run: Run) -> None:
    assert {path: run.pages[path][0] for path in ("/health", "/ready", "/metrics")} == {
        "/health": 200,
        "/ready": 200,
        "/metrics": 200,
    }
    assert b"coinglass_finals_total" in run.pages["/metrics"][1]
    for path, status in (("/liquidations/NOSUCH/", 404), ("/liquidations/?windows=0", 400)):
        assert run.pages[path][0] == status
        assert json.loads(run.pages[path][1])["error"]


def test_the_api_key_goes_to_the_feed_and_nowhere_else(run: Run) -> None:
    for path in run.paths:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        assert query == {"cg-api-key": [API_KEY]}
    assert run.shown_keys == []
    for log in run.commands.logs:
        assert not shows_key(log.read_bytes()), log.name
    for record in (r for rs in (*run.raw.values(), *run.outputs.values()) for r in rs):
        assert not shows_key(record.value)


def test_the_feed_is_subscribed_to_all_channels_once_a_connection_and_left_properly(run: Run) -> None:
    methods = [request["method"] for request in run.subscriptions]
    assert methods == ["subscribe", "subscribe", "unsubscribe"]
    assert all(sorted(request["channels"]) == sorted(CHANNELS) for request in run.subscriptions)


async def test_a_worker_with_a_new_app_id_publishes_the_same_bytes_again(run: Run) -> None:
    begin = await end_offsets(run.broker, run.outputs)
    expected, web_port = run.expected_streams(), free_port()
    wanted = sum(map(len, expected.values()))
    worker = await run.commands.process("main-job-again", web_port)
    deadline = time.monotonic() + 30
    again: dict[Stream, list[Output]] = {}
    while sum(map(len, again.values())) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        again = run.streams_of(await read_all(run.broker, {p.topic for p in run.outputs}, begin))
    worker.send_signal(signal.SIGTERM)
    assert await ended(worker) == 0, run.commands.tail()
    again = run.streams_of(await read_all(run.broker, {p.topic for p in run.outputs}, begin))
    assert again.keys() == expected.keys(), run.commands.tail()
    for stream, outputs in expected.items():
        assert again[stream] == outputs, stream
