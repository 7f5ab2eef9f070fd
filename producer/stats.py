"""What the producer counts. Plain integers, each written by one thread: a frame costs no lock. Pure."""

from collections import Counter
from dataclasses import dataclass, field


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
    spooled: int = 0
    recovered: int = 0
    spool_lost: int = 0
    spool_bytes: int = 0
    spool_bytes_max: int = 0
