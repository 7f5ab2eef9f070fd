"""The pure step's price, as a ratio to the bare loop over the same records in the same minute.

By CPU time, and as a ratio: absolute times differ between machines, and wall time with what else they do. What it
guards: nobody makes the hot path dearer by a quarter without noticing. Where it fails, see tests/benchmarks/micro.py.
"""

import gc

import pytest

from tests.benchmarks.bare_loop import fold
from tests.benchmarks.micro import of_frames, of_windows
from tests.benchmarks.stages import pipeline
from tests.benchmarks.streams import fetched, of_the_feed
from tests.benchmarks.timing import cpu_us

pytestmark = pytest.mark.speed

FRAMES = 30_000
ROUNDS = 5

#: Measured 15 times with a busy loop on each of two cores: 1.68 to 1.82, the median 1.71.
RATIO_MAX = 2.15


def ratio():
    records = fetched(of_the_feed(FRAMES))
    # A collection that falls into one of them, and not into the other, would count for more than what is looked for.
    gc.disable()
    try:
        bare, ours = [], []
        for _ in range(ROUNDS):
            bare.append(cpu_us(lambda cells: fold(records, cells), {}))
            ours.append(cpu_us(lambda step: step.process(records), pipeline()))
    finally:
        gc.enable()
    return min(ours) / min(bare)


def test_a_frame_costs_little_more_than_in_the_bare_loop():
    assert ratio() < RATIO_MAX


def test_the_bench_that_tells_more_of_it_runs():
    found = of_frames(200, 7, 1) | of_windows(1)
    assert all(timing.best_us > 0 for name, timing in found.items() if not name.startswith("fold"))  # a difference
