"""What the producer counts. Plain integers, each written by one thread: a frame costs no lock. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
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
class FeedStats:
    """What one thread counts that reads the feed."""

    attempts: int = 0
    connections: int = 0
    reconnects: int = 0
    frames: int = 0
    bytes: int = 0
    notices: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    connected: bool = False
    #: Channels that the feed refused, and that are quiet; each channel's silence, ms. Renewed once a second or so.
    refused_channels: int = 0
    quiet_channels: int = 0
    silences_ms: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Stats:
    """Totals since the start: what the feed's threads count, each in a part of its own, and the loop that publishes."""

    parts: list[FeedStats] = field(default_factory=list)
    # by the loop that publishes
    published: int = 0
    refused: int = 0
    renewals: int = 0
    delays: Delays = field(default_factory=Delays)  # from receiving a frame to its acknowledgement by Kafka
    spooled: int = 0
    recovered: int = 0
    spool_lost: int = 0
    spool_bytes: int = 0
    spool_bytes_max: int = 0

    @property
    def attempts(self) -> int:
        """Attempts to reach the feed."""
        return sum(part.attempts for part in self.parts)

    @property
    def connections(self) -> int:
        """Connections that were subscribed on."""
        return sum(part.connections for part in self.parts)

    @property
    def reconnects(self) -> int:
        """Connections in the place of one that was lost."""
        return sum(part.reconnects for part in self.parts)

    @property
    def frames(self) -> int:
        """Messages that are frames or dead letters."""
        return sum(part.frames for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of those messages."""
        return sum(part.bytes for part in self.parts)

    @property
    def notices(self) -> int:
        """Acknowledgements, notices and errors."""
        return sum(part.notices for part in self.parts)

    @property
    def dead_letters(self) -> Counter[str]:
        """Dead letters by reason."""
        return _total(part.dead_letters for part in self.parts)

    @property
    def dropped(self) -> Counter[str]:
        """Dropped frames by reason."""
        return _total(part.dropped for part in self.parts)

    @property
    def connected(self) -> int:
        """Connections that are subscribed just now."""
        return sum(part.connected for part in self.parts)


def _total(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter.copy())  # in one go: its thread may be adding a reason
    return total
