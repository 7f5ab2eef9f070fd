"""The producer between a WebSocket server of this file's own and a real Kafka."""

import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from broker.admin import connected, partition_counts
from producer.channels_watch import read_channels
from producer.service import produce
from producer.settings import ProducerSettings, Secret, Timing
from producer.stats import Stats
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from schemas.errors import OperationError
from schemas.topics import Topics

KEY = "s3cret-of-this+test/0123456789"
TRADES = "futures_trades@Gate_BTC_USDT@10000"


def frame(number: int, channel: str = "liquidationOrders") -> str:
    return (
        f'{{"channel":"{channel}", "data":[{{"baseAsset":"BTC","price":56738.00,"n":{number},"volUsd":3858.18400}}]}}'
    )


class FakeFeed:
    """Speaks as much of CoinGlass's protocol as the producer needs, and does what a test asks."""

    def __init__(self) -> None:
        self.port = 0
        self.status: HTTPStatus | None = None
        self.seen: list[tuple[int, str]] = []  # (number of the connection, text)
        self.answered_ms: list[int] = []  # each ping
        self.paths: list[str] = []
        self.connections: list[ServerConnection] = []
        self.subscribed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws-api"

    @property
    def connection(self) -> ServerConnection:
        return self.connections[-1]

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.connection.send(message)

    async def send_text_bytes(self, payload: bytes) -> None:
        """Send a text message that need not be UTF-8."""
        self.connection.protocol.send_frame(Frame(Opcode.TEXT, payload))
        self.connection.send_data()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return connection.respond(self.status, f"no: {request.path}\n") if self.status else None

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        number = len(self.connections)
        try:
            async for text in connection:
                self.seen.append((number, str(text)))
                if text == "ping":
                    await connection.send("pong")
                    self.answered_ms.append(time.time_ns() // 1_000_000)
                elif json.loads(text)["method"] == "subscribe":
                    await connection.send('{"event":"subscribed","success":true}')
                    self.subscribed.set()
        except ConnectionClosed:
            pass


@pytest.fixture
async def feed() -> AsyncIterator[FakeFeed]:
    fake = FakeFeed()
    async with serve(fake.handle, "127.0.0.1", 0, process_request=fake.check, compression=None) as server:
        fake.port = next(iter(server.sockets)).getsockname()[1]
        yield fake


@pytest.fixture
def topics() -> Topics:
    return Topics(f"test-{uuid4()}")


def settings(broker: str, feed: FakeFeed, topics: Topics, **more: Any) -> ProducerSettings:
    timing = Timing(ping_every_ms=300, probe_every_ms=50)  # and time enough for a feed that shares the tests' loop
    values = {"mark_every_ms": 100, "tick_every_ms": 20, "timing": timing, "backoff_first_ms": 20} | more
    return ProducerSettings(bootstrap=broker, url=feed.url, topics=topics, **values)


@asynccontextmanager
async def producing(given: ProducerSettings, feed: FakeFeed) -> AsyncIterator[Stats]:
    """Run the producer meanwhile; leaving stops it and waits for its drain."""
    stop, stats = asyncio.Event(), Stats()
    task = asyncio.create_task(produce(given, stop, stats=stats))
    try:
        started = asyncio.create_task(feed.subscribed.wait())
        await asyncio.wait([task, started], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if not task.done():
            yield stats
    finally:
        stop.set()
        await task


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is awaited is in another thread or process
            await asyncio.sleep(0.01)


async def everything(broker: str, *names: str) -> list[ConsumerRecord]:
    """Return all that stands in the topics, each partition in its order."""
    async with connected(broker) as admin:
        counts = await partition_counts(admin, names)
    async with AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
        partitions = [TopicPartition(name, n) for name in names for n in range(counts[name])]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records


def frames_of(records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    return [record for record in records if record.key != b"@mark"]


def marks_of(records: list[ConsumerRecord]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    marks: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if record.key == b"@mark":
            mark = json.loads(record.value)
            assert record.timestamp == mark["at_ms"]
            marks[record.topic, record.partition].append(mark)
    return marks


def kinds(marks: list[dict[str, Any]]) -> list[str]:
    return [mark["kind"] for mark in marks if mark["kind"] != "alive"]


def sequences(records: list[ConsumerRecord]) -> list[int]:
    return [int(dict(record.headers)["sequence"]) for record in records]


async def test_frames_arrive_as_they_came_in_order_with_key_timestamp_and_headers(broker, feed, topics):
    sent = [frame(n) for n in range(500)]
    async with producing(settings(broker, feed, topics, channels=("liquidationOrders", TRADES)), feed) as stats:
        await feed.send(*sent, frame(500, TRADES))
        await until(lambda: stats.frames == 501)
    records = await everything(broker, topics.raw_liquidations)
    frames = frames_of(records)
    assert [record.value.decode() for record in frames] == sent
    assert {record.key for record in frames} == {b"liquidationOrders"}
    assert len({record.partition for record in frames}) == 1
    assert sequences(frames) == list(range(500))
    (connection,) = {dict(record.headers)["connection"].decode() for record in frames}
    assert str(UUID(connection)) == connection
    marks = marks_of(records)[topics.raw_liquidations, frames[0].partition]
    assert marks[0]["at_ms"] <= frames[0].timestamp <= frames[-1].timestamp <= marks[-1]["at_ms"]
    assert {mark["connection"] for mark in marks} == {connection}
    (trade,) = frames_of(await everything(broker, topics.raw_trades))
    assert (trade.key, trade.value.decode()) == (TRADES.encode(), frame(500, TRADES))


async def test_marks_stand_in_every_partition_of_both_topics_and_a_quiet_feed_is_heard(broker, feed, topics):
    async with producing(settings(broker, feed, topics), feed) as stats:
        await until(lambda: stats.published >= 15 * 8)  # marks, in eight partitions
        await until(lambda: sum(text == "ping" for _, text in feed.seen) > 4)
    marks = marks_of(await everything(broker, *topics.raw))
    assert sorted(marks) == sorted((name, n) for name in topics.raw for n in range(4))
    assert len({json.dumps(each) for each in marks.values()}) == 1
    (first, *_, last) = one = marks[topics.raw_trades, 2]
    assert kinds(one) == ["up", "down"]
    assert 15 < len(one) <= 3 + (last["at_ms"] - first["at_ms"]) / 100
    assert (first["channels"], first["at_ms"]) == (["liquidationOrders"], first["heard_at_ms"])
    heard_ms = [mark["heard_at_ms"] for mark in one]  # quiet, and known to be
    assert heard_ms == sorted(heard_ms)
    assert len(set(heard_ms)) > 5
    for mark in one:
        answers_ms = [at_ms for at_ms in feed.answered_ms if at_ms <= mark["at_ms"] - 500]
        assert mark["heard_at_ms"] >= max(answers_ms, default=0)
    assert last["heard_at_ms"] - first["at_ms"] > 4 * 250  # so many pings were answered, 300 ms apart
    assert feed.seen[-1] == (1, '{"method":"unsubscribe","channels":["liquidationOrders"]}')


async def test_a_cut_connection_is_shown_and_subscribed_again(broker, feed, topics):
    async with producing(settings(broker, feed, topics), feed) as stats:
        await feed.send(frame(0))
        await until(lambda: stats.frames == 1)
        feed.connection.transport.abort()
        await until(lambda: stats.connections == 2)
        await until(lambda: len(feed.seen) >= 2)
        await feed.send(frame(1))
        await until(lambda: stats.frames == 2)
    records = await everything(broker, topics.raw_liquidations)
    assert [record.value.decode() for record in frames_of(records)] == [frame(0), frame(1)]
    assert sequences(frames_of(records)) == [0, 0]
    subscriptions = [number for number, text in feed.seen if '"subscribe"' in text]
    assert subscriptions == [1, 2]
    for marks in marks_of(records).values():
        assert kinds(marks) == ["up", "down", "up", "down"]
        assert len({mark["connection"] for mark in marks}) == 2


async def test_what_cannot_be_placed_goes_to_the_dead_letters_and_notices_nowhere(broker, feed, topics):
    bad = {
        b'{"channel":"fundingRate","data":[]}': "unknown-channel",
        b"garbage": "malformed",
        b"\xfe\xff\x00": "malformed",
        b'{"channel":"liquidationOrders","data":["\xff"]}': "malformed",
        b'{"data":[1]}': "malformed",
    }
    async with producing(settings(broker, feed, topics), feed) as stats:
        for payload in bad:
            await feed.send_text_bytes(payload)
        await feed.send(b"\x00binary", '{"code":"30001","msg":"a notice"}', frame(0).encode())
        await until(lambda: stats.frames == len(bad) + 2)
    (kept,) = frames_of(await everything(broker, topics.raw_liquidations))
    assert kept.value.decode() == frame(0)
    assert sequences([kept]) == [len(bad) + 1]
    assert frames_of(await everything(broker, topics.raw_trades)) == []
    letters = await everything(broker, topics.dead_letters)
    assert {letter.value: dict(letter.headers)["error.reason"].decode() for letter in letters} == {
        **bad,
        b"\x00binary": "malformed",
    }
    for letter in letters:
        headers = dict(letter.headers)
        assert letter.key is None
        assert headers["error.records"] == b"[]"
        assert headers["source.timestamp"].decode() == str(letter.timestamp)
        assert headers["error.detail"]
        assert headers["connection"] == dict(kept.headers)["connection"]
    assert sorted(sequences(letters)) == list(range(len(bad) + 1))
    assert stats.dead_letters == {"unknown-channel": 1, "malformed": len(bad)}
    assert stats.notices >= 2


async def test_frames_beyond_the_topics_size_are_gaps_and_the_others_arrive_once(broker, feed, topics):
    """The broker refuses a batch for good: the producer behind is replaced, and order and uniqueness hold."""
    async with connected(broker) as admin:
        await admin.create_topics(
            [NewTopic(topics.raw_liquidations, 1, 1, topic_configs={"max.message.bytes": "20000"})]
        )
    sent = [frame(n) if n != 150 else frame(n)[:-1] + " " * 30_000 + "}" for n in range(300)]
    given = settings(broker, feed, topics, linger_ms=200, channels=("liquidationOrders", TRADES))
    async with producing(given, feed) as stats:
        await feed.send(*sent)
        await until(lambda: stats.frames == 300)
        await until(lambda: stats.refused == 1)
    records = await everything(broker, topics.raw_liquidations)
    assert [record.value.decode() for record in frames_of(records)] == sent[:150] + sent[151:]
    (marks,) = marks_of(records).values()
    assert kinds(marks) == ["up", "down", "down"]  # after the gap, the next `alive` begins anew
    assert next(mark["channels"] for mark in marks if mark["kind"] == "down") == ["liquidationOrders"]
    gap, last = (dict(r.headers).get("why") for r in records if r.key == b"@mark" and b'"down"' in r.value)
    assert (gap, last) == (b"the broker refused a frame of 30106 bytes", b"the producer was stopped")
    assert stats.renewals >= 1


@pytest.fixture(scope="module")
async def one_own_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    """A broker for those tests alone that stop it."""
    given = KafkaSettings(port=free_port(), data_dir=tmp_path_factory.mktemp("own-kafka"))
    async with EmbeddedKafka(given) as kafka:
        yield kafka


@pytest.fixture
async def own_kafka(one_own_kafka: EmbeddedKafka) -> EmbeddedKafka:
    """A broker that a test may stop; running, however the test before left it."""
    one_own_kafka.thaw()
    if not one_own_kafka.is_alive:
        await one_own_kafka.stop()  # lets go of what a dead one held
        await one_own_kafka.start()
    return one_own_kafka


async def _restart(kafka: EmbeddedKafka) -> None:
    await kafka.stop()
    await asyncio.sleep(4)
    await kafka.start()


async def _kill(kafka: EmbeddedKafka) -> None:
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGKILL)
    await asyncio.sleep(3)
    await kafka.stop()
    await kafka.start()


async def _freeze(kafka: EmbeddedKafka) -> None:
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    await asyncio.sleep(5)
    os.kill(kafka.pid, signal.SIGCONT)


@pytest.mark.parametrize("trouble", [_restart, _kill, _freeze])
async def test_an_absent_broker_costs_no_frame_and_doubles_none(
    own_kafka: EmbeddedKafka, feed: FakeFeed, topics: Topics, trouble: Callable[[EmbeddedKafka], Awaitable[None]]
):
    count = 0
    channels = ["liquidationOrders", *(f"futures_trades@Gate_BTC_USDT@{n}" for n in range(6))]
    sent: dict[str, list[str]] = defaultdict(list)

    async def keep_sending() -> None:
        nonlocal count
        while True:
            channel = channels[count % len(channels)]
            sent[channel].append(frame(count, channel))
            await feed.send(frame(count, channel))
            count += 1
            if count % 20 == 0:
                await asyncio.sleep(0.01)

    given = settings(own_kafka.bootstrap, feed, topics, request_timeout_ms=1_500, timing=Timing())
    async with producing(given, feed) as stats:
        sending = asyncio.create_task(keep_sending())
        await until(lambda: stats.published > 500)
        await trouble(own_kafka)
        await asyncio.sleep(1)
        sending.cancel()
        await asyncio.wait([sending])
        await until(lambda: stats.frames == count)
    records = await everything(own_kafka.bootstrap, *topics.raw)
    arrived: dict[str, list[str]] = defaultdict(list)
    for record in frames_of(records):
        arrived[record.key.decode()].append(record.value.decode())
    assert {channel: len(texts) for channel, texts in arrived.items()} == {c: len(texts) for c, texts in sent.items()}
    assert arrived == sent
    assert stats.dropped.total() == 0
    for marks in marks_of(records).values():
        assert kinds(marks) == ["up", "down"]
        assert [mark["at_ms"] for mark in marks] == sorted(mark["at_ms"] for mark in marks)


async def test_what_does_not_fit_while_the_broker_is_away_is_counted_and_shown(own_kafka, feed, topics):
    given = settings(own_kafka.bootstrap, feed, topics, buffer_bytes_max=200_000, timing=Timing())
    async with producing(given, feed) as stats:
        await feed.send(*(frame(n) for n in range(10)))
        await until(lambda: stats.published >= 10)
        assert own_kafka.pid is not None
        os.kill(own_kafka.pid, signal.SIGSTOP)
        await feed.send(*(frame(n) for n in range(10, 2_000)))
        await until(lambda: stats.frames == 2_000)
        assert stats.dropped["buffer-full"] > 0
        os.kill(own_kafka.pid, signal.SIGCONT)
        published = stats.published
        await until(lambda: stats.published > published + 300)
        await feed.send(*(frame(n) for n in range(2_000, 2_010)))
        await until(lambda: stats.frames == 2_010)
    records = await everything(own_kafka.bootstrap, topics.raw_liquidations)
    frames = frames_of(records)
    numbers = sequences(frames)
    dropped = stats.dropped["buffer-full"]
    kept = 2_000 - dropped
    assert numbers == [*range(kept), *range(2_000, 2_010)]
    for (_, partition), marks in marks_of(records).items():
        assert kinds(marks) == ["up", "down", "up", "down"]
        assert len({mark["connection"] for mark in marks}) == 1
        gap = next(n for n, mark in enumerate(marks) if mark["kind"] == "down")
        if partition == frames[0].partition:
            assert marks[gap]["heard_at_ms"] == frames[kept - 1].timestamp
            assert marks[gap]["heard_at_ms"] < marks[gap + 1]["at_ms"] <= frames[kept].timestamp


async def test_a_drain_that_cannot_end_says_what_was_lost(own_kafka, feed, topics):
    given = settings(own_kafka.bootstrap, feed, topics, drain_timeout_ms=500, timing=Timing())

    async def lose_the_broker() -> None:
        async with producing(given, feed) as stats:
            await until(lambda: stats.published > 0)
            await own_kafka.stop()
            await feed.send(*(frame(n) for n in range(10)))
            await until(lambda: stats.frames == 10)

    with pytest.raises(OperationError, match="were not published"):
        await lose_the_broker()


async def test_the_channels_file_is_followed_without_a_reconnect(broker, feed, topics, tmp_path):
    file = tmp_path / "channels.yaml"
    file.write_text("- liquidation_orders")
    given = settings(broker, feed, topics, channels=read_channels(file), channels_file=file, mark_every_ms=60_000)
    async with producing(dataclasses.replace(given, channels_looked_at_every_ms=20, redundant_group="pair"), feed):
        file.write_text("- nonsense")
        file.write_text("- liquidationOrders\n- futures_trades@{Gate,OKX}_BTC_USDT@10000")
        await until(lambda: sum('"subscribe"' in text for _, text in feed.seen) == 2)
        await feed.send(frame(0, "liquidation_orders"), frame(1), frame(2, TRADES))
        file.write_text(f"- {TRADES}")
        await until(lambda: any('"unsubscribe"' in text for _, text in feed.seen))
    asked = [text for _, text in feed.seen if text != "ping"]
    other = TRADES.replace("Gate", "OKX")
    assert [(json.loads(text)["method"], json.loads(text)["channels"]) for text in asked[:3]] == [
        ("subscribe", ["liquidation_orders"]),
        ("subscribe", [TRADES, other]),
        ("unsubscribe", ["liquidation_orders", other]),
    ]
    assert len(feed.connections) == 1
    records = await everything(broker, topics.raw_liquidations)
    assert {(record.key, record.value.decode()) for record in frames_of(records)} == {
        (b"liquidationOrders", frame(0, "liquidation_orders")),
        (b"liquidationOrders", frame(1)),
    }
    marks = marks_of(records)[topics.raw_liquidations, 0]
    assert [(mark["kind"], mark["channels"]) for mark in marks] == [
        ("up", ["liquidationOrders"]),
        ("alive", ["liquidationOrders", TRADES, other]),
        ("alive", [TRADES]),
        ("down", [TRADES]),
    ]
    assert {dict(record.headers)["group"] for record in records if record.key == b"@mark"} == {b"pair"}


# The command


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
    return {**kept, "COINGLASS_SPOOL_MIB": "0", **more}


async def start(*arguments: str, **environment: str) -> Process:
    command = [sys.executable, "-W", "error", "-m", "coinglass_streams", "produce", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=_environment(**environment))


async def finished(process: Process) -> tuple[int, str]:
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert out == b""
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_sigterm_drains_and_the_key_shows_nowhere(broker, feed, topics):
    process = await start(
        *("--broker", broker, "--topic-prefix", topics.prefix, "--url", feed.url + "?x=1", "--log-level", "debug"),
        *("--channel", "liquidationOrders", "--channel", TRADES, "--channel", "liquidationOrders"),
        COINGLASS_API_KEY=KEY,
    )
    async with asyncio.timeout(20):
        await feed.subscribed.wait()
    feed.connection.transport.abort()
    await until(lambda: sum('"subscribe"' in text for _, text in feed.seen) == 2)
    await feed.send(json.dumps({"error": f"key {KEY} is odd"}), *(frame(n) for n in range(2_000)))
    title = await asyncio.to_thread(Path(f"/proc/{process.pid}/cmdline").read_bytes)
    process.send_signal(signal.SIGTERM)
    status, err = await finished(process)
    assert status == 0, err
    assert feed.paths[0] == "/ws-api?x=1&cg-api-key=s3cret-of-this%2Btest%2F0123456789"
    assert json.loads(feed.seen[0][1])["channels"] == ["liquidationOrders", TRADES]
    for shown in (err, title.decode()):
        assert KEY not in shown
        assert "s3cret-of-this%2Btest" not in shown
    assert "event=feed.notice" in err
    records = await everything(broker, topics.raw_liquidations)
    arrived = [record.value.decode() for record in frames_of(records)]
    assert arrived == [frame(n) for n in range(2_000)]
    (last,) = {json.dumps(marks[-1]) for marks in marks_of(records).values()}
    assert json.loads(last)["kind"] == "down"
    assert "Traceback" not in err


async def test_what_the_feed_sent_before_it_learnt_of_the_end_is_still_taken(broker, feed, topics):
    sent = 0

    async def send_until_closed() -> None:
        nonlocal sent
        try:
            while True:
                await feed.send(frame(sent))
                sent += 1
                await asyncio.sleep(0.0001)
        except ConnectionClosed:
            pass

    async with producing(settings(broker, feed, topics, timing=Timing()), feed) as stats:
        sending = asyncio.create_task(send_until_closed())
        await until(lambda: stats.frames > 1_000)
    await sending
    arrived = [record.value.decode() for record in frames_of(await everything(broker, topics.raw_liquidations))]
    assert arrived == [frame(n) for n in range(sent)]


async def test_a_refused_key_is_one_line_without_the_key(broker, feed, topics):
    feed.status = HTTPStatus.UNAUTHORIZED
    process = await start(
        *("--broker", broker, "--topic-prefix", topics.prefix, "--url", feed.url, "--log-level", "error"),
        COINGLASS_API_KEY=KEY,
    )
    code, err = await finished(process)
    assert code == 1
    assert err.count("\n") == 1
    assert "refused the API key" in err
    assert KEY not in err
    assert "cg-api-key" not in err
    assert len(feed.paths) == 1


async def test_an_unreachable_feed_is_tried_again_with_a_line_each_time(broker, feed, topics):
    feed.status = HTTPStatus.SERVICE_UNAVAILABLE
    process = await start("--broker", broker, "--topic-prefix", topics.prefix, "--url", feed.url, COINGLASS_API_KEY=KEY)
    await until(lambda: len(feed.paths) >= 2)
    feed.status = None
    await until(feed.subscribed.is_set)
    process.send_signal(signal.SIGINT)
    code, err = await finished(process)
    assert code == 0
    assert err.count("event=feed.unreachable") == len(feed.paths) - 1
    assert "status 503" in err
    assert KEY not in err


@pytest.mark.parametrize(
    ("arguments", "status", "remedy"),
    [
        ([], 2, "set COINGLASS_API_KEY or COINGLASS_API_KEY_FILE"),
        (["--url", "ws://127.0.0.1:1", "--channel", "nonsense"], 2, "futures_trades@"),
        (["--url", "http://127.0.0.1:1"], 2, "ws://"),
        (["--url", "ws://127.0.0.1:1", "--mark-every", "1h"], 2, "--mark-every"),
        (["--url", "ws://127.0.0.1:1", "--broker", "127.0.0.1:1"], 1, "no Kafka broker answers"),
    ],
)
async def test_what_cannot_work_is_one_line_and_a_status(arguments: list[str], status: int, remedy: str):
    code, err = await finished(await start(*arguments))
    assert (code, err.count("\n")) == (status, 1), err
    assert remedy in err


async def test_metrics_are_served_on_request(broker, feed, topics):
    port = free_port()
    async with producing(settings(broker, feed, topics, metrics_port=port), feed) as stats:
        await feed.send(frame(0))
        await until(lambda: stats.frames == 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    assert "coinglass_producer_frames_total 1.0" in text
    assert "coinglass_producer_connected 1.0" in text


def test_the_secret_of_these_tests_needs_quoting():
    assert Secret(KEY).scrub("s3cret-of-this%2Btest%2F0123456789") == "***"
