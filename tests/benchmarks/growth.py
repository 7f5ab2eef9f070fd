"""What a frame costs as things grow; with --worker, also what a real worker's memory does.

    python -m tests.benchmarks.growth --json build/benchmarks/growth.json
    python -m tests.benchmarks.growth --worker --frames 10000000 --json build/benchmarks/growth_worker.json

Of channels, windows and records a frame, one grows while the others stay as they are in `Shape` and with one window.
However many channels there are, each has ten frames in a window.
"""

import argparse
import asyncio
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.command import save
from tests.benchmarks.memory import memory_over
from tests.benchmarks.stages import STAGES, pass_through, timings
from tests.benchmarks.streams import FRAMES_A_WINDOW, Shape, fetched, shaped
from tests.benchmarks.timing import as_in_a_worker

START_MS = 1_725_416_340_000
FRAMES = 30_000
CHANNELS = (10, 100, 1_000, 10_000)
WINDOWS = ("1m", "5m", "15m", "1h", "4h", "1d")
RECORDS = (1, 2, 5, 10, 20, 50, 100)

MILLION = 1_000_000


def cases() -> Iterator[tuple[str, int, Shape, tuple[str, ...]]]:
    """Yield what grows, how far, the frames' shape and the windows."""
    for channels in CHANNELS:
        yield "channels", channels, Shape(channels=channels), WINDOWS[:1]
    for count in range(1, len(WINDOWS) + 1):
        yield "windows", count, Shape(), WINDOWS[:count]
    for records in RECORDS:
        yield "records", records, Shape(records=records), WINDOWS[:1]


def cost(shape: Shape, windows: tuple[str, ...], rounds: int) -> dict:
    """Return the microseconds of CPU of each stage."""
    # Two windows' worth at least, so that windows close; fewer frames where each is large.
    count = max(FRAMES * 2 // (shape.records + 1), 2 * FRAMES_A_WINDOW * shape.channels)
    records = fetched(shaped(shape, count, START_MS))
    passed = [pass_through(records, windows) for _ in range(rounds)]
    stages = timings(passed, count)
    best = min(sum(one.ns.values()) for one in passed) / 1e3
    median = statistics.median(sum(one.ns.values()) for one in passed) / 1e3
    return {
        "frames": count,
        "us_per_frame": best / count,
        "median_us_per_frame": median / count,
        "us_per_record": best / count / shape.records,
        "rows_per_frame": passed[0].rows / count,
        "results_per_frame": passed[0].results / count,
        **{f"{stage}_us_per_frame": stages[stage].best_us for stage in STAGES},
    }


def pure(rounds: int) -> list[dict]:
    """Measure every case, and print each as it is measured."""
    columns = "what | so many | µs a frame | process | take | batches | µs a record | rows a frame | results a frame"
    print(f"| {columns} |\n|" + "---|" * len(columns.split("|")))
    found = []
    for what, size, shape, windows in cases():
        one = {"what": what, "size": size} | cost(shape, windows, rounds)
        found.append(one)
        stages = " | ".join(f"{one[f'{stage}_us_per_frame']:.2f}" for stage in STAGES)
        print(
            f"| {what} | {size:,} | {one['us_per_frame']:.2f} | {stages} | {one['us_per_record']:.2f} "
            f"| {one['rows_per_frame']:.3f} | {one['results_per_frame']:.3f} |",
            flush=True,
        )
    return found


def worker(broker: str | None, frames: int, channels: list[int], channel_frames: int) -> list[dict]:
    """Measure a worker's memory: over many frames, and with many channels; print each as it is measured."""
    runs = [(Shape(), frames), *((Shape(channels=count), channel_frames) for count in channels)]
    print("| channels | frames | RSS MB at the start | at a tenth | at a half | at the end | highest | frames/s |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for shape, count in runs:
        one = asyncio.run(memory_over(shape, count, broker))
        found.append(one)
        marks = [one["samples"][0]["rss_mb"], *(_rss_at(one, count * share) for share in (0.1, 0.5, 1)), one["peak_mb"]]
        cells = " | ".join(f"{mark:.0f}" for mark in marks)
        print(f"| {shape.channels:,} | {count:,} | {cells} | {one['frames_per_s']:,.0f} |", flush=True)
    return found


def _rss_at(run: dict, frames: float) -> float:
    return next((s["rss_mb"] for s in run["samples"] if s["frames"] >= frames), run["samples"][-1]["rss_mb"])


def main() -> None:
    """Measure and keep what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help="measure a worker's memory instead")
    parser.add_argument("--broker", help="for --worker; an embedded Kafka unless given")
    parser.add_argument("--frames", type=int, default=10 * MILLION, help="that one worker takes")
    parser.add_argument("--full", action="store_true", help="50 million frames")
    parser.add_argument("--channels", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--channel-frames", type=int, default=MILLION, help="that each of those takes")
    given = parser.parse_args()
    if given.worker:
        frames = 50 * MILLION if given.full else given.frames
        report = worker(given.broker, frames, given.channels, given.channel_frames)
    else:
        as_in_a_worker()
        report = pure(given.rounds)
    save(report, given.json)


if __name__ == "__main__":
    main()
