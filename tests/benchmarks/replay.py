"""How fast a replay is, against a bare loop that only fetches, decodes and discards.

    python -m tests.benchmarks.replay --json build/benchmarks/replay.json

Everything is measured in this one run, over the same frames in rounds that take turns; the figures are the rounds'
medians. Each way runs in a process of its own, so that its memory is its own, and is timed inside of it, from the first
fetch to the last record.

    bare            aiokafka as it is: getmany, decode_plain_frame, discard
    bare, light     the same with the replay's light records, and the worker's settings of the collector
    topics          our replay at max, one job
    parquet         our replay of an export, one job
    two jobs        our replay of the topics with --jobs 2
"""

import argparse
import asyncio
import multiprocessing
import re
import statistics
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from processors.archive.export import ExportSettings, export
from processors.collector import spare_the_collector
from processors.engine.light_records import hand_over_light_records
from processors.frames import decode_plain_frame
from processors.pipeline import PipelineSettings
from processors.raw_topics import raw_consumer
from processors.replay.plan import total_records
from processors.replay.session import make_plan, running
from processors.replay.settings import ReplaySettings
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.topics import Topics
from schemas.untrusted_json import UNDECODABLE
from tests.benchmarks import loading
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.command import save
from tests.benchmarks.streams import of_the_feed


def bare(settings, light):
    async def run():
        plan = await asyncio.to_thread(make_plan, settings)
        consumer = raw_consumer(settings.bootstrap)
        await consumer.start()
        try:
            if light:
                hand_over_light_records(consumer)
            left = {stretch.tp: stretch for stretch in plan if stretch.records}
            consumer.assign(list(left))
            for tp, stretch in left.items():
                consumer.seek(tp, stretch.begin)
            frames, began = 0, time.perf_counter()
            while left:
                for tp, records in (await consumer.getmany(*left, timeout_ms=200)).items():
                    for record in records:
                        try:
                            decode_plain_frame(record.value)
                        except UNDECODABLE:
                            continue
                    frames += len(records)
                    if records[-1].offset + 1 >= left[tp].end:
                        del left[tp]
            return frames, time.perf_counter() - began
        finally:
            await consumer.stop()

    if light:
        spare_the_collector()
    return asyncio.run(run())


def ours(settings):
    spare_the_collector()
    plan = make_plan(settings)
    frames, began = 0, time.perf_counter()
    with running(settings, plan) as steps:
        for step in steps:
            frames += step.records
        took_s = time.perf_counter() - began
    assert frames == total_records(plan)
    return frames, took_s


def measured(pipe, way, settings):
    frames, took_s = {"bare": lambda s: bare(s, False), "bare, light": lambda s: bare(s, True)}.get(way, ours)(settings)
    # Not getrusage's: that begins with what the process that started this one had.
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    pipe.send((frames, took_s, int(peak_kib) // 1024))


def in_a_process(way, settings):
    context = multiprocessing.get_context("spawn")
    ours_, theirs = context.Pipe(duplex=False)
    process = context.Process(target=measured, args=(theirs, way, settings))
    process.start()
    try:
        return ours_.recv()
    finally:
        process.join()


async def loaded(broker, frames):
    """Write frames to raw topics of a new prefix, and return them."""
    topics = Topics(f"bench-replay-{uuid.uuid4().hex[:8]}")
    await loading.make_topics(broker, topics)
    async with loading.producer(broker) as producer:
        await loading.write(producer, topics, of_the_feed(frames))
    return topics


async def measure(broker, frames, rounds, folder):
    """Return the rounds of each way: frames, seconds, and MiB at most."""
    async with given_or_embedded(broker, folder / "kafka") as bootstrap:
        topics = await loaded(bootstrap, frames)
        await export(ExportSettings(bootstrap, topics, folder / "export"))
        pipeline = PipelineSettings(topics, window_sizes((parse_duration("1m"),)))
        from_topics = ReplaySettings(pipeline, topics, bootstrap)
        ways = {
            "bare": from_topics,
            "bare, light": from_topics,
            "topics": from_topics,
            "parquet": replace(from_topics, input=folder / "export"),
            "two jobs": replace(from_topics, jobs=2),
        }
        found = {way: [] for way in ways}
        for _ in range(rounds):
            for way, settings in ways.items():
                found[way].append(await asyncio.to_thread(in_a_process, way, settings))
    return found


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", help="host:port; without it an embedded Kafka runs for as long")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(arguments.broker, arguments.frames, arguments.rounds, Path(folder)))
    report(found, arguments.json)


def report(rounds, path):
    figures = {
        way: {
            "frames": some[0][0],
            "frames_per_s": round(statistics.median(frames / took_s for frames, took_s, _ in some)),
            "rss_mib_max": max(rss for _, _, rss in some),
        }
        for way, some in rounds.items()
    }
    base = figures["bare"]["frames_per_s"]
    table = Table("way", "frames/s", "of bare", "max RSS, MiB (the parent's)")
    for way, figure in figures.items():
        figure["of_bare"] = round(figure["frames_per_s"] / base, 3)
        table.add_row(way, f"{figure['frames_per_s']:,}", f"{figure['of_bare']:.2f}", str(figure["rss_mib_max"]))
    Console().print(table)
    save(figures, path)


if __name__ == "__main__":
    main()
