"""What the producer counts. Plain integers, each written by one thread: a frame costs no lock. Pure."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

#: Bounds of the buckets that delays are counted in, ms; a last one holds what is above.
DELAY_BOUNDS_MS = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500),
    *(1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000),
)


@dataclass(slots=True)
class Delays:
    """How many frames waited how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DELAY_BOUNDS_MS) + 1))
    sum_ms: int = 0

    def add(self, delay_ms: int) -> None:
        """Count one frame."""
        self.counts[bisect_left(DELAY_BOUNDS_MS, delay_ms)] += 1
        self.sum_ms += delay_ms


@dataclass(slots=True)
class Stats:
    """Totals since the start."""

    # by the thread that reads the feed
    attempts: int = 0
    connections: int = 0
    frames: int = 0
    bytes: int = 0
    notices: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    connected: bool = False
    # by the loop that publishes
    published: int = 0
    refused: int = 0
    renewals: int = 0
    delays: Delays = field(default_factory=Delays)  # from receiving a frame to its acknowledgement by Kafka
