"""What the producer counts. Plain integers, each written by one thread: a frame costs no lock. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


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
