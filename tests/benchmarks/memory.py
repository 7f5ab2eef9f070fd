"""A real worker's memory, seen from outside, while it works through more and more frames."""

import asyncio
import os
import tempfile
import time
import uuid
from itertools import islice
from pathlib import Path

from schemas.topics import Topics
from tests.benchmarks import loading
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.scrape import scrape
from tests.benchmarks.streams import Shape, shaped
from tests.integration.processes import Worker
from tests.integration.processes import worker as a_worker

#: Written at once; the writer waits while it is more than two of them ahead. The raw topics keep all: 0.3 GB a million.
CHUNK_FRAMES = 250_000
SAMPLE_SECONDS = 0.5
STALL_SECONDS_MAX = 60

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


async def memory_over(shape: Shape, frames: int, broker: str | None) -> dict:
    """Return the worker's RSS over time and frames while it works through so many frames of that shape."""
    name = f"bench-memory-{uuid.uuid4().hex[:8]}"
    topics, samples = Topics(name), []
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        async with given_or_embedded(broker, Path(folder, "kafka")) as bootstrap:
            await loading.make_topics(bootstrap, topics)
            async with a_worker(bootstrap, Path(folder), name) as worker:
                await worker.until_ready()
                sampling = asyncio.create_task(_sample(worker, samples, frames))
                began = time.monotonic()
                await asyncio.gather(_write(bootstrap, topics, shape, frames, samples), sampling)
                seconds = time.monotonic() - began
                await worker.stop()
    return {
        "channels": shape.channels,
        "frames": frames,
        "frames_per_s": frames / seconds,
        "peak_mb": max(sample["rss_mb"] for sample in samples),
        "samples": samples,
    }


async def _write(bootstrap: str, topics: Topics, shape: Shape, frames: int, samples: list[dict]) -> None:
    start_ms = time.time_ns() // 1_000_000 - int(frames * shape.frame_ms()) - 60_000
    lines = shaped(shape, frames, start_ms)
    written = 0
    async with loading.producer(bootstrap) as producer:
        while written < frames:
            written += await loading.write(producer, topics, islice(lines, CHUNK_FRAMES))
            while not samples or written - samples[-1]["frames"] > 2 * CHUNK_FRAMES:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(SAMPLE_SECONDS)


async def _sample(worker: Worker, samples: list[dict], frames: int) -> None:
    """Look at the worker until it has worked through all; fails where it gets no further."""
    began = moved = time.monotonic()
    while not samples or samples[-1]["frames"] < frames:
        assert worker.process.returncode is None, worker.log.read_text()[-2000:]
        done, now = (await scrape(worker)).frames, time.monotonic()
        if not samples or done > samples[-1]["frames"]:
            moved = now
        assert now - moved < STALL_SECONDS_MAX, f"the worker stays at {done:,} of {frames:,} frames"
        samples.append({"s": round(now - began, 2), "frames": done, "rss_mb": rss_mb(worker.process.pid)})
        await asyncio.sleep(SAMPLE_SECONDS)


def rss_mb(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB, 1)
