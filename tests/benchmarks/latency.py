"""How late results are, and what a worker costs, at a steady rate: a real worker on a real broker, seen from outside.

    python -m tests.benchmarks.latency --kafka-streams --json build/benchmarks/latency.json

final    from sending the record that moved the watermark past a window's end to reading its final, `read_committed`
visible  from the broker's acknowledgement of a record to its window in the JSON route
CPU      of the worker's process, while nobody asks it anything

Event time runs 60 times as fast as the clock, so that 1-minute windows close every second on every partition; with
`--speed-up 1` it runs as it does in life, which is how to ask for the CPU.
"""

import asyncio
import os
import random
import statistics
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from broker.admin import connected, ensure_topics
from schemas.channels import LIQUIDATIONS
from schemas.topics import Topics, TopicSpec
from tests.benchmarks import loading
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.command import in_a_folder, options, save
from tests.benchmarks.side_by_side.frames import frames
from tests.integration.processes import worker

START_MS = 1_725_416_280_000
WARM_UP_SECONDS = 5
VISIBLE_SECONDS_MAX = 20
KAFKA_STREAMS_WARM_UP_SECONDS = 20  # it starts in some five, and compiles itself for longer


class Feed:
    """Sends frames at a steady rate; the Kafka timestamp of each tells which it was."""

    def __init__(self, producer, topic_of, rate, speed_up):
        self.sent_at = {}  # Kafka timestamp, ms -> monotonic seconds
        self._producer, self._topic_of, self._rate = producer, topic_of, rate
        self._step_ms = 1_000 * speed_up / rate
        self._count = 0

    def timestamp_ms(self):
        """Return the time of the feed, as the next frame's Kafka timestamp."""
        return START_MS + round(self._count * self._step_ms)

    async def run(self, seconds):
        """Send for so long."""
        lines = frames(int(seconds * self._rate), seed=self._count, start_ms=self.timestamp_ms(), step_ms=self._step_ms)
        began, first = time.perf_counter(), self._count
        for channel, frame in lines:
            ahead = (self._count - first) / self._rate - (time.perf_counter() - began)
            if ahead > 0:
                await asyncio.sleep(ahead)
            timestamp_ms = self.timestamp_ms()
            self.sent_at[timestamp_ms] = time.perf_counter()
            await self._producer.send(
                self._topic_of(channel), frame.encode(), key=channel.encode(), timestamp_ms=timestamp_ms
            )
            self._count += 1


class Finals:
    """Reads finals, and notes how late each was."""

    def __init__(self, consumer, feed):
        self.late_ms, self.noting = [], False
        self._consumer, self._feed = consumer, feed

    async def run(self):
        """Read until cancelled."""
        while True:
            for records in (await self._consumer.getmany(timeout_ms=1_000)).values():
                now = time.perf_counter()
                sent = [self._feed.sent_at.get(record.timestamp) for record in records]
                if self.noting:
                    self.late_ms += [(now - at) * 1e3 for at in sent if at is not None]


def cpu_seconds(pid):
    """Return user and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentiles(values):
    """Return p50, p90, p99 and the largest."""
    cuts = statistics.quantiles(values, n=100)
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(values), "count": len(values)}


def visible(web, asset):
    """Whether an asset is in the JSON route."""
    try:
        with urllib.request.urlopen(f"{web}/liquidations/{asset}/", timeout=10) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise


async def probe(producer, feed, topic, web, count):
    """Send records of assets that are new, one after another, and return how many ms each took to be visible."""
    took_ms, pauses = [], random.Random(7)
    for n in range(count):
        asset, timestamp_ms = f"PROBE{n}", feed.timestamp_ms()
        record = {"baseAsset": asset, "exName": "Bench", "price": 1.0, "side": 1, "symbol": asset}
        frame = {"channel": LIQUIDATIONS, "data": [{**record, "time": timestamp_ms, "volUsd": 1.0}]}
        await producer.send_and_wait(
            topic, msgspec.json.encode(frame), key=LIQUIDATIONS.encode(), timestamp_ms=timestamp_ms
        )
        acknowledged = time.perf_counter()
        while not await asyncio.to_thread(visible, web, asset):
            # Event time runs so fast that a hiccup of a tenth of a second makes a record late: that is never visible.
            assert time.perf_counter() - acknowledged < VISIBLE_SECONDS_MAX, f"{asset} is not visible: was it late?"
            await asyncio.sleep(0.001)
        took_ms.append((time.perf_counter() - acknowledged) * 1e3)
        await asyncio.sleep(pauses.uniform(0.03, 0.1))  # or probes fall into step with the worker's fetches
    return took_ms


@asynccontextmanager
async def fed(broker, sinks, topic_of, args):
    """Read finals and be ready to send frames, as (producer, feed, finals)."""
    consumer = AIOKafkaConsumer(
        *sinks,
        bootstrap_servers=broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=10,
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
    async with consumer, producer:
        feed = Feed(producer, topic_of, args.rate, args.speed_up)
        finals = Finals(consumer, feed)
        reading = asyncio.create_task(finals.run())
        try:
            yield producer, feed, finals
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def steady(feed, finals, pid, args):
    """Feed a process that is warm already; return its CPU and how late finals were."""
    finals.noting = True
    cpu, began = cpu_seconds(pid), time.perf_counter()
    await feed.run(args.seconds)
    share = (cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
    finals.noting = False
    return {"cpu_share": share, "final_ms": finals.late_ms}


async def of_ours(broker, args, folder):
    """Measure one worker of this project."""
    topics = Topics(f"latency-{uuid.uuid4().hex[:8]}")
    await loading.make_topics(broker, topics)

    def topic_of(channel):
        return topics.raw_liquidations if channel == LIQUIDATIONS else topics.raw_trades

    sinks = [topics.liquidation_volume("1m"), topics.trade_imbalance("1m")]
    async with (
        fed(broker, sinks, topic_of, args) as (producer, feed, finals),
        worker(broker, folder, topics.prefix) as running,
    ):
        await running.until_ready()
        await feed.run(WARM_UP_SECONDS)
        figures = await steady(feed, finals, running.process.pid, args)
        feeding = asyncio.create_task(feed.run(3_600))
        figures["visible_ms"] = await probe(producer, feed, topics.raw_liquidations, running.web, args.probes)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        assert await running.stop() == 0, running.log.read_text()
    return figures


async def of_kafka_streams(broker, args, folder):
    """Measure the Kafka Streams peer of the side-by-side bench, with one thread."""
    sys.path.append(str(Path(__file__).parent / "side_by_side"))  # its modules are a script's, not a package's
    from engines import check, engine_start

    check(["kafka-streams-eos"])
    run_id = f"latency-ks-{uuid.uuid4().hex[:8]}"
    how = await asyncio.to_thread(engine_start, "kafka-streams-eos", broker, run_id, folder, {}, folder / "state")
    async with connected(broker) as client:
        for_good = (("retention.ms", "-1"),)
        await ensure_topics(client, [TopicSpec(name, 4, for_good) for name in (*how.sources, *how.sinks)])
    async with fed(broker, how.sinks, how.topic_of, args) as (_, feed, finals):
        process = await asyncio.create_subprocess_exec(
            *how.command, cwd=how.cwd, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await feed.run(KAFKA_STREAMS_WARM_UP_SECONDS)
            return await steady(feed, finals, process.pid, args)
        finally:
            process.terminate()
            await process.wait()


async def measure(args, folder):
    """Measure what was asked for, one engine after the other on one broker, and print it."""
    async with given_or_embedded(args.broker, folder / "kafka") as broker:
        found = await of_ours(broker, args, folder)
        show("ours", found)
        if args.kafka_streams:
            found["kafka_streams"] = await of_kafka_streams(broker, args, folder)
            show("kafka-streams-eos", found["kafka_streams"])
    return found


def show(name, figures):
    """Print one engine's figures."""
    print(f"{name}: CPU {figures['cpu_share']:.1%} of a core")
    for what in ("final_ms", "visible_ms"):
        if len(figures.get(what, ())) > 1:
            print(f"  {what}", {cut: round(value, 1) for cut, value in percentiles(figures[what]).items()})


def main():
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("--rate", type=int, default=1_000, help="frames a second")
    parser.add_argument("--speed-up", type=int, default=60, help="event time against the clock")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--kafka-streams", action="store_true", help="measure that peer too; needs mvn and a JDK 17")
    args = parser.parse_args()
    found = in_a_folder(measure, args)
    save({"rate": args.rate, "speed_up": args.speed_up, **found}, args.json)


if __name__ == "__main__":
    main()
