"""The broker away for longer than memory lasts: what the spool keeps arrives once and in order, whoever dies."""

import asyncio
import json
import re
import signal
import sys
import time
import urllib.request
from asyncio.subprocess import DEVNULL, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from structlog.testing import capture_logs

from broker.admin import cluster_id, connected
from processors.coverage import Coverage
from processors.frames import Rejected, decode_mark
from producer.entries import FrameEntry
from producer.protocol import RawKind
from producer.settings import ProducerSettings, Timing
from producer.spool_folder import SpoolFolder
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from schemas.topics import Topics
from tests.integration.processes import environment, eventually
from tests.integration.test_producer import (
    FakeFeed,
    everything,
    feed,
    frame,
    frames_of,
    kinds,
    marks_of,
    producing,
    sequences,
    settings,
    topics,
    until,
)

__all__ = ["feed", "topics"]  # fixtures

CHANNELS = ("liquidationOrders", *(f"futures_trades@Gate_BTC_USDT@{n}" for n in range(6)))
KIB = 1024


@pytest.fixture(scope="module")
async def lone_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    """A broker that these tests may freeze and kill; each leaves it well."""
    given = KafkaSettings(port=free_port(), data_dir=tmp_path_factory.mktemp("lone-kafka"))
    async with EmbeddedKafka(given) as kafka:
        yield kafka


def spooling(kafka: EmbeddedKafka, feed: FakeFeed, topics: Topics, folder: Path, **more: Any) -> ProducerSettings:
    values = {
        "channels": CHANNELS,
        "timing": Timing(),
        "request_timeout_ms": 1_500,
        "buffer_bytes_max": KIB * KIB,
        "spool_dir": folder,
        "spool_bytes_max": 64 * KIB * KIB,
    }
    return settings(kafka.bootstrap, feed, topics, **values | more)


def sized(number: int, channel: str) -> str:
    """A frame of some 2 kB."""
    return frame(number, channel)[:-1] + " " * 2_000 + "}"


class Sender:
    """Sends frames of all channels in turn, and knows what it sent."""

    def __init__(self, feed: FakeFeed) -> None:
        self.feed = feed
        self.count = 0
        self.sent: dict[str, list[str]] = defaultdict(list)

    async def send(self, count: int) -> None:
        """Send so many, with pauses in which a producer of this process takes its turn."""
        for _ in range(count):
            channel = CHANNELS[self.count % len(CHANNELS)]
            text = sized(self.count, channel)
            self.sent[channel].append(text)
            await self.feed.send(text)
            self.count += 1
            if self.count % 20 == 0:
                await asyncio.sleep(0.01)


def by_channel(records: list[ConsumerRecord]) -> dict[str, list[str]]:
    arrived: dict[str, list[str]] = defaultdict(list)
    for record in frames_of(records):
        arrived[record.key.decode()].append(record.value.decode())
    return arrived


def coverage_of(marks: list[dict[str, Any]]) -> Coverage:
    coverage = Coverage()
    for mark in marks:
        decoded = decode_mark(json.dumps(mark).encode())
        assert not isinstance(decoded, Rejected)
        coverage.add(decoded)
    return coverage


async def test_frames_beyond_memory_arrive_once_in_order_and_covered(lone_kafka, feed, topics, tmp_path):
    sender = Sender(feed)
    async with producing(spooling(lone_kafka, feed, topics, tmp_path), feed) as stats:
        await sender.send(200)
        await until(lambda: stats.published >= 200)
        await lone_kafka.kill()
        await sender.send(2_000)
        await until(lambda: stats.frames == sender.count)
        assert stats.spooled > 1_000  # of 4 MB that came memory holds one
        assert stats.spool_bytes > 3_000 * KIB
        await lone_kafka.start()
        await sender.send(200)
        await until(lambda: stats.frames == sender.count and stats.spool_bytes == 0, seconds=60)
    assert stats.dropped.total() == 0
    records = await everything(lone_kafka.bootstrap, *topics.raw)
    assert by_channel(records) == sender.sent
    for marks in marks_of(records).values():
        assert kinds(marks) == ["up", "down"]
        times = [mark["at_ms"] for mark in marks]
        assert times == sorted(set(times))
        assert coverage_of(marks).share(CHANNELS[0], times[0], marks[-1]["heard_at_ms"]) == 1.0


async def test_what_fits_neither_memory_nor_disk_is_counted_and_shown(lone_kafka, feed, topics, tmp_path):
    given = spooling(
        lone_kafka, feed, topics, tmp_path, buffer_bytes_max=512 * KIB, spool_bytes_max=256 * KIB, channels=CHANNELS[:1]
    )
    async with producing(given, feed) as stats:
        await feed.send(*(sized(n, CHANNELS[0]) for n in range(10)))
        await until(lambda: stats.published >= 10)
        lone_kafka.freeze()
        for first in range(10, 1_000, 10):
            await feed.send(*(sized(n, CHANNELS[0]) for n in range(first, first + 10)))
            await asyncio.sleep(0.004)
        await until(lambda: stats.frames == 1_000)
        assert stats.spooled > 50
        assert stats.dropped["buffer-full"] > 500
        lone_kafka.thaw()
        await until(lambda: stats.spool_bytes == 0)
        await feed.send(*(sized(n, CHANNELS[0]) for n in range(1_000, 1_010)))
        await until(lambda: stats.frames == 1_010)
    records = await everything(lone_kafka.bootstrap, topics.raw_liquidations)
    frames = frames_of(records)
    numbers = sequences(frames)
    assert len(numbers) == 1_010 - stats.dropped["buffer-full"]
    assert numbers == sorted(set(numbers))
    for marks in marks_of(records).values():
        spans = coverage_of(marks).spans
        covered = [
            [n for n, f in zip(numbers, frames, strict=True) if s.from_ms <= f.timestamp < s.to_ms] for s in spans
        ]
        assert len(covered) >= 2
        assert all(part == list(range(part[0], part[-1] + 1)) for part in covered if part)  # nothing was dropped in it
        ends, inside = {s.to_ms for s in spans}, {n for part in covered for n in part}
        outside = [f.timestamp for n, f in zip(numbers, frames, strict=True) if n not in inside]
        assert all(at_ms in ends for at_ms in outside)  # an end is the last millisecond that was heard


# The producer as a process


class Command:
    """A running `coinglass-streams produce`."""

    def __init__(self, process: Process, log: Path, metrics: str) -> None:
        self.process = process
        self.log = log
        self._metrics = metrics

    async def metric(self, name: str) -> float:
        def scrape() -> str:
            with urllib.request.urlopen(self._metrics, timeout=5) as answer:
                return str(answer.read().decode())

        found = re.search(rf"^coinglass_producer_{name} (\S+)$", await asyncio.to_thread(scrape), re.MULTILINE)
        assert found, name
        return float(found[1])

    async def until(self, name: str, least: float) -> None:
        async def reached() -> bool:
            return await self.metric(name) >= least

        await eventually(reached)

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def command(kafka: EmbeddedKafka, feed: FakeFeed, topics: Topics, folder: Path) -> AsyncIterator[Command]:
    """Run the producer, with 1 MiB of memory, once it is subscribed."""
    port = free_port()
    log = folder / f"produce-{port}.log"
    feed.subscribed.clear()
    channels = [argument for channel in CHANNELS for argument in ("--channel", channel)]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coinglass_streams", "produce", "--url", feed.url, *channels),
            *("--broker", kafka.bootstrap, "--topic-prefix", topics.prefix, "--mark-every", "100ms"),
            *("--buffer-mib", "1", "--spool-dir", str(folder / "spool"), "--metrics-port", str(port)),
            env=environment(),
            stdin=DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        async with asyncio.timeout(20):
            await feed.subscribed.wait()
        yield Command(process, log, f"http://127.0.0.1:{port}/metrics")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_producer_killed_in_an_outage_leaves_what_it_spooled_and_claims_no_more(
    lone_kafka, feed, topics, tmp_path
):
    sender = Sender(feed)
    async with command(lone_kafka, feed, topics, tmp_path) as first:
        await sender.send(200)
        await first.until("published_total", 200)
        lone_kafka.freeze()
        # In portions that memory has room for, however long the process stands still.
        for count in (400, 300, 300):
            await sender.send(count)
            await first.until("frames_total", sender.count)
            await first.until("spooled_total", sender.count - 200)
        spooled = await first.metric("spooled_total")
        # In all eight partitions a mark that was made after the last frame.
        await first.until("spooled_total", spooled + 2 * 8)
        first.process.send_signal(signal.SIGSTOP)  # what follows is lost
        lost_from_ms = time.time_ns() // 1_000_000 + 1
        await sender.send(100)
        first.process.kill()
        assert await first.ended() == -signal.SIGKILL
    lone_kafka.thaw()
    again = Sender(feed)
    async with command(lone_kafka, feed, topics, tmp_path) as second:
        await again.send(100)
        await second.until("frames_total", 100)
        await second.until("recovered_total", 900)
        second.process.send_signal(signal.SIGTERM)
        assert await second.ended() == 0
        assert "spool.leftovers" in second.log.read_text()
    records = await everything(lone_kafka.bootstrap, *topics.raw)
    kept = 0
    for channel, texts in by_channel(records).items():
        new = again.sent[channel]
        old = texts[: -len(new)]
        assert texts[-len(new) :] == new
        assert old == sender.sent[channel][: len(old)]
        kept += len(old)
    assert 1_100 < kept <= 1_200
    for marks in marks_of(records).values():
        assert kinds(marks) == ["up", "up", "down"]  # nobody said `down` for the first
        second_up = next(mark["at_ms"] for mark in marks[1:] if mark["kind"] == "up")
        coverage = coverage_of(marks)
        assert coverage.share(CHANNELS[0], lost_from_ms, second_up) == 0.0
        connection = marks[0]["connection"].encode()
        heard_ms = [f.timestamp for f in frames_of(records) if ("connection", connection) in f.headers]
        assert coverage.share(CHANNELS[0], marks[0]["at_ms"], max(heard_ms)) == 1.0


async def test_a_producer_stopped_in_an_outage_keeps_everything_for_the_next(lone_kafka, feed, topics, tmp_path):
    sender = Sender(feed)
    async with command(lone_kafka, feed, topics, tmp_path) as first:
        await sender.send(200)
        await first.until("published_total", 200)
        lone_kafka.freeze()  # with what is in flight in its hands
        await sender.send(300)  # memory has room for them
        await first.until("frames_total", 500)
        first.process.send_signal(signal.SIGTERM)
        await until(lambda: "producer.draining" in first.log.read_text())
        first.process.send_signal(signal.SIGTERM)  # no need to wait
        assert await first.ended() == 0
        assert first.log.read_text().count("producer.kept") == 1
    lone_kafka.thaw()
    async with command(lone_kafka, feed, topics, tmp_path) as second:
        await sender.send(100)
        await second.until("frames_total", 100)
        second.process.send_signal(signal.SIGTERM)
        assert await second.ended() == 0
    records = await everything(lone_kafka.bootstrap, *topics.raw)
    assert by_channel(records) == sender.sent
    for marks in marks_of(records).values():
        assert kinds(marks) == ["up", "down", "up", "down"]
        (end,) = [n for n, mark in enumerate(marks[:-1]) if mark["kind"] == "down"]
        assert coverage_of(marks).share(CHANNELS[0], marks[0]["at_ms"], marks[end]["heard_at_ms"]) == 1.0
        assert len({json.dumps(mark) for mark in marks}) == len(marks)


async def test_leftovers_of_another_slot_are_published_too_and_once(broker, feed, topics, tmp_path):
    now_ms = time.time_ns() // 1_000_000
    kept = [FrameEntry(RawKind.LIQUIDATIONS, b"liquidationOrders", b"{}", now_ms, b"u", n) for n in range(20)]
    given = settings(broker, feed, topics, spool_dir=tmp_path, spool_bytes_max=KIB * KIB)
    async with connected(broker) as admin:
        cluster = await cluster_id(admin)
    folder = SpoolFolder(tmp_path, topics.prefix, cluster, KIB * KIB)
    own, other = folder.take(), folder.take()
    for number, entry in enumerate(kept):
        entry.number = number + 1
    other.append(kept)
    own.close()
    other.close()
    for _ in range(2):
        async with producing(given, feed) as stats:
            await until(lambda stats=stats: stats.spool_bytes == 0 and stats.published > 28)
    frames = frames_of(await everything(broker, topics.raw_liquidations))
    assert sequences(frames) == list(range(20))


async def test_a_spool_that_cannot_be_is_one_line_and_the_producer_goes_on(broker, feed, topics, tmp_path):
    (tmp_path / "spool").touch()
    given = settings(broker, feed, topics, spool_dir=tmp_path / "spool", spool_bytes_max=KIB * KIB)
    with capture_logs() as logs:
        async with producing(given, feed) as stats:
            await feed.send(frame(0))
            await until(lambda: stats.frames == 1)
    assert [line["event"] for line in logs].count("spool.refused") == 1
    assert len(frames_of(await everything(broker, topics.raw_liquidations))) == 1
