"""What the producer does: how fast against a bare read loop, and at a steady rate its memory and its delays.

    python -m tests.benchmarks.producer --json build/benchmarks/producer.json
    python -m tests.benchmarks.producer --rounds 0 --minutes 10

throughput   frames a second from the server's first byte to the last frame's acknowledgement by Kafka, all of them
             published by `coinglass-streams produce`; and to the last `recv()` of a bare websocket-client, in turns
delay        from receiving a frame to its acknowledgement, as the producer's own /metrics tell it; beside it, in the
             same minutes, how long the broker takes to acknowledge a single record to a client that waits for it
memory       of the producer's process
"""

import asyncio
import json
import random
import statistics
import sys
import time
import urllib.request
import uuid
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from broker.admin import connected, ensure_topics
from sandbox.ports import free_port
from schemas.topics import TopicSpec
from tests.benchmarks import latency
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.command import in_a_folder, options, save
from tests.benchmarks.memory import rss_mb
from tests.benchmarks.side_by_side.frames import frames
from tests.integration.processes import environment

DIFFERENT_FRAMES = 50_000
FRAME_BYTES = 292  # on average
PROBE_PAUSE_SECONDS = (0.015, 0.025)
WARM_UP_SECONDS = 5
SAMPLE_SECONDS = 1.0
POLL_SECONDS = 0.1
STALL_SECONDS_MAX = 60

#: What each percentile's name stands for.
CUTS = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class Scrape(NamedTuple):
    """A producer's own figures of one moment."""

    acknowledged: int  # frames
    dropped: int
    buffer_bytes: int
    delays: dict  # upper bound, seconds -> frames, those of the smaller ones among them


async def scrape(port):
    """Ask the producer's /metrics."""

    def fetch():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    found, delays = {}, {}
    for family in text_string_to_metric_families(await asyncio.to_thread(fetch)):
        for sample in family.samples:
            if sample.name == "coinglass_producer_frame_seconds_bucket":
                delays[float(sample.labels["le"])] = int(sample.value)
            else:
                found[sample.name] = found.get(sample.name, 0) + int(sample.value)
    return Scrape(
        found["coinglass_producer_frame_seconds_count"],
        found.get("coinglass_producer_dropped_frames_total", 0),
        found["coinglass_producer_buffer_bytes"],
        delays,
    )


class Speed(NamedTuple):
    """Frames a second, and microseconds of CPU for each; the start is in it."""

    per_s: float
    cpu_us: float

    def __str__(self):
        return f"{self.per_s:,.0f}/s at {self.cpu_us:.1f} µs"


class Server(NamedTuple):
    """A running feed."""

    url: str
    lines: asyncio.StreamReader

    async def told(self):
        """Return what it says of the connection that it has sent everything to."""
        return json.loads(await self.lines.readline())


class BrokersOwn:
    """How long the broker takes to acknowledge one record, asked again and again: what no producer can be below."""

    def __init__(self):
        self.took_ms = []

    def _note(self, took_ms):
        """Count a wait, and those of the records that would have come within it: nobody asked meanwhile."""
        every_ms = sum(PROBE_PAUSE_SECONDS) / 2 * 1e3
        while took_ms > 0:
            self.took_ms.append(took_ms)
            took_ms -= every_ms

    @asynccontextmanager
    async def asked(self, bootstrap):
        """Ask meanwhile."""
        topic, pauses = f"probe-{uuid.uuid4().hex[:8]}", random.Random(7)
        async with connected(bootstrap) as client:
            await ensure_topics(client, [TopicSpec(topic, 1)])

        async def ask(probing):
            while True:
                began = time.perf_counter()
                await probing.send_and_wait(topic, b"x" * FRAME_BYTES)
                self._note((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(pauses.uniform(*PROBE_PAUSE_SECONDS))

        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as probing:
            asking = asyncio.create_task(ask(probing))
            yield
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@asynccontextmanager
async def server(path, count, rate=None):
    """Run the feed in a process of its own."""
    flags = ["--rate", str(rate)] if rate else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.feed_server", str(path), "--count", str(count), *flags, stdout=PIPE
    )
    try:
        port = json.loads(await process.stdout.readline())["port"]
        yield Server(f"ws://127.0.0.1:{port}/ws-api", process.stdout)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def producer(broker, url, folder):
    """Run the command, as (process, its metrics' port); it must drain and end well."""
    port, log = free_port(), folder / "producer.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coinglass_streams", "produce", "--broker", broker, "--url", url,
            "--topic-prefix", f"bench-{uuid.uuid4().hex[:8]}", "--metrics-port", str(port),
            stdout=errors, stderr=errors, env=environment(),
        )  # fmt: skip
    try:
        yield process, port
        process.terminate()
        assert await process.wait() == 0, log.read_text()[-2000:]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def of_producer(broker, path, count, folder):
    """Return the producer's frames a second, and its CPU a frame."""
    async with server(path, count) as feed, producer(broker, feed.url, folder) as (process, port):
        began = (await feed.told())["began"]
        moved, acknowledged = time.monotonic(), 0
        while acknowledged < count:
            found = await scrape(port)
            now = time.monotonic()
            assert not found.dropped, found
            if found.acknowledged > acknowledged:
                moved = now
            assert now - moved < STALL_SECONDS_MAX, found
            acknowledged = found.acknowledged
            await asyncio.sleep(POLL_SECONDS)
        return Speed(count / (now - began), latency.cpu_seconds(process.pid) / count * 1e6)


async def of_read_loop(path, count):
    """Return the bare loop's."""
    async with server(path, count) as feed:
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.read_loop", feed.url, str(count), stdout=PIPE
        )
        said = json.loads((await reader.communicate())[0])
        return Speed(count / (said["ended"] - (await feed.told())["began"]), said["cpu"] / count * 1e6)


async def throughput(broker, path, count, rounds, folder):
    """Measure both in turn, and print each round."""
    found = []
    for _ in range(rounds):
        bare, ours = await of_read_loop(path, count), await of_producer(broker, path, count, folder)
        found.append({"read_loop": bare._asdict(), "producer": ours._asdict(), "ratio": ours.per_s / bare.per_s})
        print(f"read loop {bare}, producer {ours}, ratio {ours.per_s / bare.per_s:.2f}", flush=True)
    if found:
        print(f"median ratio {statistics.median(one['ratio'] for one in found):.2f}")
    return found


async def steady(broker, path, rate, minutes, folder):
    """Watch a producer at a steady rate: its memory, what waits, and its frames' delays."""
    count = int(rate * (minutes * 60 + WARM_UP_SECONDS))
    brokers_own = BrokersOwn()
    async with (
        server(path, count, rate) as feed,
        producer(broker, feed.url, folder) as (process, port),
        brokers_own.asked(broker),
    ):
        sent = asyncio.create_task(feed.told())
        await asyncio.sleep(WARM_UP_SECONDS)
        first, began, samples = await scrape(port), time.monotonic(), []
        while not sent.done():
            await asyncio.wait([sent], timeout=SAMPLE_SECONDS)
            waits = (await scrape(port)).buffer_bytes
            samples.append(
                {"s": round(time.monotonic() - began, 1), "rss_mb": rss_mb(process.pid), "buffer_bytes": waits}
            )
        while (last := await scrape(port)).acknowledged < count:  # noqa: ASYNC110 - it is elsewhere
            await asyncio.sleep(POLL_SECONDS)
    assert not last.dropped
    spread = {bound: number - first.delays[bound] for bound, number in last.delays.items()}
    told = {"rate": rate, "frames": last.acknowledged - first.acknowledged, "samples": samples}
    return told | {
        "delay_ms": percentiles(spread),
        "delays": {str(bound): n for bound, n in spread.items()},
        "brokers_own_ms": latency.percentiles(brokers_own.took_ms),
    }


def percentiles(spread):
    """Return for each cut the bound that it lies below, ms: the delays are counted in buckets."""
    total = max(spread.values())
    return {
        name: min(bound for bound, number in spread.items() if number >= cut * total) * 1e3
        for name, cut in CUTS.items()
    }


def show(found):
    """Print what a steady producer did."""
    memory = [sample["rss_mb"] for sample in found["samples"]]
    tenths = [round(statistics.median(part), 1) for part in in_tenths(memory)]
    print(f"{found['frames']:,} frames at {found['rate']}/s")
    print("received to acknowledged, ms, at most:", {cut: round(value) for cut, value in found["delay_ms"].items()})
    print("the broker's own, ms:", {cut: round(value, 1) for cut, value in found["brokers_own_ms"].items()})
    print("memory, MB, by tenths of the time:", tenths, "highest", max(memory))
    print("waiting, KB, highest:", max(sample["buffer_bytes"] for sample in found["samples"]) // 1_000)


def in_tenths(values):
    """Return the values in ten parts, or fewer where they are few."""
    size = max(1, len(values) // 10)
    return [values[at : at + size] for at in range(0, len(values), size)]


async def measure(args, folder):
    """Measure what was asked for, on one broker."""
    path = folder / "frames"
    path.write_text("".join(f"{frame}\n" for _, frame in frames(min(DIFFERENT_FRAMES, args.frames))))
    async with given_or_embedded(args.broker, folder / "kafka") as broker:
        found = {"throughput": await throughput(broker, path, args.frames, args.rounds, folder)}
        if args.minutes:
            found["steady"] = await steady(broker, path, args.rate, args.minutes, folder)
            show(found["steady"])
    return found


def main():
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=300_000, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=1_000, help="frames a second, when steady")
    parser.add_argument("--minutes", type=float, default=1)
    args = parser.parse_args()
    found = in_a_folder(measure, args)
    save(found, args.json)


if __name__ == "__main__":
    main()
