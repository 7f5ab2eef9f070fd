"""How late results are, and what a worker costs, at a steady rate: a real worker on a real broker, seen from outside.

    python -m tests.benchmarks.latency --rate 1000 --seconds 30 --json build/benchmarks/latency.json

final    from sending the record that moved the watermark past a window's end to reading its final, `read_committed`
visible  from the broker's acknowledgement of a record to its window in the JSON route
CPU      of the worker's process, while nobody asks it anything

Event time runs 60 times as fast as the clock, so that 1-minute windows close every second on every partition.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from broker.admin import connected, ensure_topics
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.benchmarks.side_by_side.frames import frames
from tests.integration.processes import worker

SPEED_UP = 60
START_MS = 1_725_416_280_000
WARM_UP_SECONDS = 5


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
    took_ms = []
    for n in range(count):
        asset, timestamp_ms = f"PROBE{n}", feed.timestamp_ms()
        record = {"baseAsset": asset, "exName": "Bench", "price": 1.0, "side": 1, "symbol": asset}
        frame = {"channel": "liquidationOrders", "data": [{**record, "time": timestamp_ms, "volUsd": 1.0}]}
        await producer.send_and_wait(
            topic, msgspec.json.encode(frame), key=b"liquidationOrders", timestamp_ms=timestamp_ms
        )
        acknowledged = time.perf_counter()
        while not await asyncio.to_thread(visible, web, asset):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.001)
        took_ms.append((time.perf_counter() - acknowledged) * 1e3)
        await asyncio.sleep(0.05)
    return took_ms


async def measure(broker, args, folder):
    """Run a worker under the feed, and return its figures."""
    topics = Topics(f"latency-{uuid.uuid4().hex[:8]}")
    windows = (parse_duration("1m"),)
    async with connected(broker) as client:
        await ensure_topics(client, topics.raw_specs())
        await ensure_topics(client, topics.result_specs(windows))
    consumer = AIOKafkaConsumer(
        topics.liquidation_volume("1m"),
        topics.trade_imbalance("1m"),
        bootstrap_servers=broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=10,
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
    async with consumer, producer, worker(broker, folder, topics.prefix) as process:
        await process.until_ready()

        def topic_of(channel):
            return topics.raw_liquidations if channel == "liquidationOrders" else topics.raw_trades

        feed = Feed(producer, topic_of, args.rate, args.speed_up)
        finals = Finals(consumer, feed)
        reading = asyncio.create_task(finals.run())
        await feed.run(WARM_UP_SECONDS)
        finals.noting = True
        cpu, began = cpu_seconds(process.process.pid), time.perf_counter()
        await feed.run(args.seconds)
        share = (cpu_seconds(process.process.pid) - cpu) / (time.perf_counter() - began)
        finals.noting = False
        feeding = asyncio.create_task(feed.run(3_600))
        took_ms = await probe(producer, feed, topics.raw_liquidations, process.web, args.probes)
        feeding.cancel()
        reading.cancel()
        _, _, metrics = await process.get("/metrics")
        await asyncio.gather(feeding, reading, return_exceptions=True)
        assert await process.stop() == 0, process.log.read_text()
    return {"cpu_share": share, "final_ms": finals.late_ms, "visible_ms": took_ms}, metrics.decode()


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--rate", type=int, default=1_000, help="frames a second")
    parser.add_argument("--speed-up", type=int, default=SPEED_UP, help="event time against the clock")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, metrics = asyncio.run(measure(args.broker, args, Path(folder)))
    print(f"CPU {found['cpu_share']:.1%} of a core at {args.rate} frames/s")
    for name in ("visible_ms", "final_ms"):
        if len(found[name]) > 1:
            print(name, {k: round(v, 1) for k, v in percentiles(found[name]).items()})
    transactions = sum(float(x.split()[-1]) for x in metrics.splitlines() if "transaction_seconds_count{" in x)
    seconds = sum(float(x.split()[-1]) for x in metrics.splitlines() if "transaction_seconds_sum{" in x)
    print(f"{transactions:.0f} transactions, {seconds / transactions * 1e3:.1f} ms each")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"rate": args.rate, **found}))


if __name__ == "__main__":
    main()
