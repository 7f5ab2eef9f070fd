"""How long a piece of code takes, in CPU time: what else the machine does must not count."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from processors.collector import spare_the_collector


@dataclass(frozen=True)
class Timing:
    """Microseconds for each of the things done."""

    best_us: float
    median_us: float


def take_time(prepare: Callable[[], Any], work: Callable[[Any], object], things: int, rounds: int = 5) -> Timing:
    """Time `work(prepare())` so many times; only `work` counts."""
    costs = [cpu_us(work, prepare()) / things for _ in range(rounds)]
    return Timing(min(costs), statistics.median(costs))


def cpu_us(work: Callable[[Any], object], prepared: Any) -> float:
    """Return the microseconds of CPU that one call took."""
    began_ns = time.process_time_ns()
    work(prepared)
    return (time.process_time_ns() - began_ns) / 1e3


def as_in_a_worker() -> None:
    """Have the garbage collector run as rarely as a worker has it run."""
    spare_the_collector()
