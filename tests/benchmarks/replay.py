"""How fast a replay is, against a bare loop that only fetches, decodes and discards.

    python -m tests.benchmarks.replay --broker 127.0.0.1:9092 --topic-prefix loaded --json out.json

The raw topics must be loaded already. Everything is measured in this one run, in rounds that take turns; the figures
are the rounds' medians. Each way runs in a process of its own, so that its memory is its own, and is timed inside of
it, from the first fetch to the last record.

    bare            aiokafka as it is: getmany, decode_plain_frame, discard
    bare, light     the same with the replay's light records, and the worker's settings of the collector
    topics          our replay at max, one job
    parquet         our replay of an export, one job
    two jobs        our replay of the topics with --jobs 2
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from processors.archive.export import ExportSettings, export
from processors.collector import spare_the_collector
from processors.engine.light_records import hand_over_light_records
from processors.frames import UNDECODABLE, decode_plain_frame
from processors.pipeline import PipelineSettings
from processors.replay.plan import total_records
from processors.replay.session import make_plan, running
from processors.replay.settings import ReplaySettings
from processors.replay.topics import raw_consumer
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.topics import Topics


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
    pipe.send((frames, took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def in_a_process(way, settings):
    context = multiprocessing.get_context("spawn")
    ours_, theirs = context.Pipe(duplex=False)
    process = context.Process(target=measured, args=(theirs, way, settings))
    process.start()
    try:
        return ours_.recv()
    finally:
        process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--topic-prefix", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    topics = Topics(arguments.topic_prefix)
    pipeline = PipelineSettings(topics, window_sizes((parse_duration("1m"),)))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(export(ExportSettings(arguments.broker, topics, Path(folder))))
        from_topics = ReplaySettings(pipeline, topics, arguments.broker)
        ways = {
            "bare": from_topics,
            "bare, light": from_topics,
            "topics": from_topics,
            "parquet": ReplaySettings(pipeline, topics, arguments.broker, Path(folder)),
            "two jobs": ReplaySettings(pipeline, topics, arguments.broker, jobs=2),
        }
        rounds = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, settings in ways.items():
                rounds[way].append(in_a_process(way, settings))
    report(rounds, arguments.json)


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
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
