"""The way of frames through a worker without its broker: processed, taken, and made into Kafka's batches."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from faust.types import TP

from processors.engine.record_batches import records_by_partition, transactional_batches
from processors.engine.step import Changes, SourceRecord
from processors.pipeline import PartitionPipeline, PipelineSettings
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.topics import Topics
from tests.benchmarks.timing import Timing

TOPICS = Topics("bench")
STAGES = ("process", "take", "batches")

#: About as many as a worker under a backlog has in a transaction: a fifth of a second's, over some partitions.
TRANSACTION_FRAMES = 5_000


@dataclass(frozen=True)
class Passed:
    """What one way of all frames cost, and brought."""

    ns: dict[str, int]  # of CPU, for each stage
    rows: int
    results: int


def pipeline(windows: Sequence[str] = ("1m",)) -> PartitionPipeline:
    """Return a step over a partition of its own."""
    sizes = window_sizes(tuple(parse_duration(window) for window in windows))
    return PartitionPipeline(PipelineSettings(TOPICS, sizes), TOPICS.raw_trades, 0)


def encode_batches(changes: Changes) -> int:
    """Make the Kafka batches of one transaction; returns how many bytes they have."""
    sorted_out = records_by_partition(changes, TP("bench-trades-changelog", 0), 0, lambda _: [0, 1, 2, 3])
    return sum(len(batch) for some in sorted_out.values() for batch in transactional_batches(some, 1, 0))


def pass_through(records: Sequence[SourceRecord], windows: Sequence[str] = ("1m",)) -> Passed:
    """Pass all records through a fresh pipeline, a transaction's worth at a time."""
    step, ns, rows, results = pipeline(windows), dict.fromkeys(STAGES, 0), 0, 0
    clock = time.process_time_ns
    for at in range(0, len(records), TRANSACTION_FRAMES):
        some = records[at : at + TRANSACTION_FRAMES]
        began = clock()
        step.process(some)
        processed = clock()
        changes = step.take()
        taken = clock()
        encode_batches(changes)
        ns["batches"] += clock() - taken
        ns["take"] += taken - processed
        ns["process"] += processed - began
        rows, results = rows + len(changes.rows), results + len(changes.results)
    return Passed(ns, rows, results)


def timings(passed: Sequence[Passed], things: int) -> dict[str, Timing]:
    """Return each stage's microseconds a thing (a frame, a record) over several passes."""
    found = {}
    for stage in STAGES:
        costs = [one.ns[stage] / 1e3 / things for one in passed]
        found[stage] = Timing(min(costs), statistics.median(costs))
    return found
