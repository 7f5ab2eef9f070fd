"""What a broker that is away costs the producer: the spool's speed, and a real producer's memory and way back.

    python -m tests.benchmarks.outage --seconds 120 --json build/benchmarks/outage.json

spilled, read back   frames/s through buffer, spool and outbox, without a broker, and the longest turn of the loop
outage               the broker is frozen for so many seconds at a steady rate: resident memory, dropped frames
way back             from the thaw until the spool is empty, the feed going on meanwhile
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from asyncio.subprocess import DEVNULL
from pathlib import Path
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

from producer.backlog import Backlog
from producer.buffer import Buffer
from producer.entries import FrameEntry
from producer.outbox import Outbox, Place
from producer.protocol import RawKind
from producer.published import Published
from producer.spool_folder import SpoolFolder
from producer.stats import Stats
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.ports import free_port
from sandbox.simulate.server import FeedSettings, SimulatedFeed
from tests.benchmarks.command import save
from tests.integration.processes import environment

CHANNELS = ("liquidationOrders", "futures_trades@Binance_BTCUSDT@10000", "futures_trades@OKX_BTC-USDT-SWAP@10000")
PAYLOAD = b"x" * 300  # a frame of two trades
MIB = 1024 * 1024


def spool_speed(folder: Path, frames: int) -> dict:
    """Return frames/s into the spool and out of it, and the longest turn of either."""
    place: Place = ("raw", 0)
    buffer = Buffer(256 * MIB)
    outbox = Outbox(buffer.free)
    backlog = Backlog(buffer, outbox, lambda _: (place,), Stats())
    backlog.use(SpoolFolder(folder, "bench", "cluster", 4_096 * MIB).take())
    backlog.compare_with(Published())
    into, out = [], []
    for first in range(0, frames, 1_000):
        for number in range(first, first + 1_000):
            buffer.put(FrameEntry(RawKind.TRADES, CHANNELS[1].encode(), PAYLOAD, number, b"u" * 36, number))
        into.append(_seconds(lambda: backlog.move(0.0, stalled=True)))
    while not backlog.is_idle:
        out.append(_seconds(lambda: backlog.move(0.0, stalled=False)))
        for ready, waiting in outbox.ready():
            outbox.send(ready, len(waiting), outbox.waiting_bytes)
            outbox.acknowledge(ready)
    backlog.close()
    return {
        "spilled_frames_per_s": round(frames / sum(into)),
        "spilled_longest_turn_ms": round(max(into) * 1_000, 1),
        "spilled_median_turn_ms": round(statistics.median(into) * 1_000, 1),
        "read_back_frames_per_s": round(frames / sum(out)),
        "read_back_longest_turn_ms": round(max(out) * 1_000, 1),
    }


def _seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Producer:
    """A running producer, seen from outside."""

    def __init__(self, process, metrics_port: int) -> None:
        self.process = process
        self._address = f"http://127.0.0.1:{metrics_port}/metrics"

    async def sample(self) -> dict[str, float]:
        def scrape() -> str:
            with urllib.request.urlopen(self._address, timeout=10) as answer:
                return answer.read().decode()

        text = await asyncio.to_thread(scrape)
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("coinglass_producer_")
                found[name] = found.get(name, 0.0) + sample.value
        found["rss_mb"] = await asyncio.to_thread(self._rss_mb)
        return found

    def _rss_mb(self) -> float:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def outage(folder: Path, rate: float, seconds: int) -> dict:
    """Freeze the broker under a producer at a steady rate, thaw it, and return what that cost."""
    async with (
        EmbeddedKafka(KafkaSettings(port=free_port(), data_dir=folder / "kafka")) as kafka,
        SimulatedFeed(FeedSettings(port=free_port(), rate_per_s=rate, seed=1)) as feed,
    ):
        port = free_port()
        channels = [argument for channel in CHANNELS for argument in ("--channel", channel)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coinglass_streams", "produce", "--url", feed.url, *channels),
            *("--broker", kafka.bootstrap, "--topic-prefix", f"bench-{uuid4()}", "--metrics-port", str(port)),
            *("--spool-dir", str(folder / "spool"), "--log-level", "error"),
            env=environment(),
            stdin=DEVNULL,
        )
        try:
            producer = Producer(process, port)
            await asyncio.sleep(10)
            before = await producer.sample()
            kafka.freeze()
            samples = []
            for _ in range(seconds):
                await asyncio.sleep(1)
                samples.append(await producer.sample())
            kafka.thaw()
            thawed, end = time.perf_counter(), samples[-1]
            after = end
            while after["spool_bytes"] > 0 or after["published_total"] < end["frames_total"]:
                await asyncio.sleep(0.05)
                after = await producer.sample()
            took_s = time.perf_counter() - thawed
            process.terminate()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    settled = samples[min(len(samples) - 1, 15) :]
    return {
        "seconds": seconds,
        "frames_per_s": round((end["frames_total"] - before["frames_total"]) / seconds),
        "rss_mb_before": round(before["rss_mb"]),
        "rss_mb_after_15_s": round(settled[0]["rss_mb"]),
        "rss_mb_at_its_end": round(settled[-1]["rss_mb"]),
        "rss_mb_most": round(max(sample["rss_mb"] for sample in samples)),
        "buffer_mb_most": round(max(sample["buffer_bytes"] for sample in samples) / 1e6, 1),
        "spool_mb": round(end["spool_bytes"] / 1e6, 1),
        "spooled": int(after["spooled_total"]),
        "dropped": int(after.get("dropped_frames_total", 0)),
        "way_back_s": round(took_s, 1),
        "way_back_records_per_s": round((after["published_total"] - end["published_total"]) / took_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = spool_speed(Path(folder) / "speed", given.frames)
        print(json.dumps(figures), flush=True)
        figures |= asyncio.run(outage(Path(folder), given.rate, given.seconds))
    print(json.dumps(figures, indent=2))
    save(figures, given.json)


if __name__ == "__main__":
    main()
