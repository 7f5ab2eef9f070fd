"""What each step of a frame's way costs, in one process and without a broker.

    python -m tests.benchmarks.micro --json build/benchmarks/micro.json

All is CPU time, of the bench's own frames, as objects that aiokafka unpacked.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from processors.frames import decode_plain_frame
from processors.outputs import Outputs
from processors.pipeline import PartitionPipeline
from tests.benchmarks.bare_loop import fold
from tests.benchmarks.command import save
from tests.benchmarks.stages import encode_batches, pass_through, pipeline, timings
from tests.benchmarks.streams import Shape, fetched, of_the_feed, shaped
from tests.benchmarks.timing import Timing, as_in_a_worker, take_time

#: Markets whose windows are encoded and recovered: more than a partition usually has open.
MARKETS = 1_000
START_MS = 1_725_416_340_000


def of_frames(frames: int, seed: int, rounds: int) -> dict[str, Timing]:
    """Return what a frame costs: bare, decoded, and in each stage of the pipeline."""
    records = fetched(of_the_feed(frames, seed))
    values = [record.value for record in records]
    found = {
        "bare loop, a frame": take_time(dict, lambda cells: fold(records, cells), frames, rounds),
        "decode, a frame": take_time(
            lambda: values, lambda all_: [0 for v in all_ if decode_plain_frame(v) is None], frames, rounds
        ),
        "decode and fold (process), a frame": take_time(pipeline, lambda step: step.process(records), frames, rounds),
    }
    decode, process = found["decode, a frame"], found["decode and fold (process), a frame"]
    found["fold, a frame"] = Timing(process.best_us - decode.best_us, process.median_us - decode.median_us)
    staged = timings([pass_through(records) for _ in range(rounds)], frames)
    found["take, a frame"], found["Kafka batches, a frame"] = staged["take"], staged["batches"]
    return found


def of_windows(rounds: int) -> dict[str, Timing]:
    """Return what an open window costs when it is handed over, published and recovered."""
    records = fetched(shaped(Shape(MARKETS), 4 * MARKETS, START_MS))

    def filled() -> PartitionPipeline:
        step = pipeline()
        step.process(records)
        return step

    windows, changes = list(filled()._open), filled().take()
    rows = {key: row for key, row in changes.rows.items() if row is not None}

    def publish(out: Outputs) -> None:
        for window in windows:
            out.final(window, 1.0, START_MS)

    return {
        "take (encode), a row": take_time(filled, lambda step: step.take(), len(rows), rounds),
        "Kafka batches, a row": take_time(lambda: changes, encode_batches, len(rows), rounds),
        "final (value and Avro), a final": take_time(lambda: filled()._out, publish, len(windows), rounds),
        "restore, a row": take_time(pipeline, lambda step: step.restore(rows), len(rows), rounds),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.micro", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    as_in_a_worker()
    found = of_frames(given.frames, given.seed, given.rounds) | of_windows(given.rounds)
    print("| µs of CPU | best | median |\n|---|---|---|")
    for name, timing in found.items():
        print(f"| {name} | {timing.best_us:.2f} | {timing.median_us:.2f} |")
    ratio = found["decode and fold (process), a frame"].best_us / found["bare loop, a frame"].best_us
    print(f"\nThe pipeline takes {ratio:.2f} times the bare loop.")
    report = {"frames": given.frames, "rounds": given.rounds, "pipeline_to_bare": ratio}
    report["us"] = {name: asdict(timing) for name, timing in found.items()}
    save(report, given.json)


if __name__ == "__main__":
    main()
