"""What a storm is asked for: frozen, and checked once at start."""

from dataclasses import dataclass
from pathlib import Path

from tests.oracle import OracleSettings

BLOWS = (
    "kill",
    "double-kill",
    "freeze",
    "stop",
    "broker-kill",
    "broker-freeze",
    "broker-restart",
    "rescale",
    "netcut",
)
MEMBERSHIPS = ("static", "dynamic", "mixed")
SLOTS_MAX = 4  # how many workers there are at most, while rescaled

PARTITIONS = 4  # of every topic
WINDOWS = (("1s", 1_000), ("5s", 5_000))
GRACE_MS = 1_000
MARK_DELAY_MS = 2_000

#: How a worker is started in these storms, besides broker, prefix and its own names.
WORKER_FLAGS = ("--window", "1s", "--window", "5s", "--grace", "1s", "--mark-delay", "2s", "--log-level", "info")


@dataclass(frozen=True)
class StormSettings:
    """One storm. Raises ValueError for one that cannot be."""

    seconds: float
    seed: int
    workers: int = 2
    membership: str = "static"
    nodes: int = 1
    rate: float = 2_000.0  # frames a second
    blows: tuple[str, ...] = BLOWS
    fencing: bool = True
    keep: Path | None = None  # where data and logs stay; none: they are deleted if all was well
    settle_seconds_max: float = 120.0  # how long the workers may take, after the last blow, to process all

    def __post_init__(self) -> None:
        unknown = [blow for blow in self.blows if blow not in BLOWS]
        if unknown:
            raise ValueError(f"no such blow: {', '.join(unknown)}; there are {', '.join(BLOWS)}")
        if self.membership not in MEMBERSHIPS:
            raise ValueError(f"no such membership: {self.membership}; there are {', '.join(MEMBERSHIPS)}")
        if not 1 <= self.workers <= SLOTS_MAX:
            raise ValueError(f"{self.workers} workers: 1 to {SLOTS_MAX}")
        if self.nodes not in (1, 3):
            raise ValueError(f"{self.nodes} nodes: 1 or 3")
        if self.seconds <= 0 or self.rate <= 0:
            raise ValueError("seconds and rate must be more than 0")

    def is_static(self, slot: int) -> bool:
        """Whether the worker of this slot keeps its name in the group over a restart."""
        return self.membership == "static" or (self.membership == "mixed" and slot % 2 == 0)


def oracle_settings(prefix: str) -> OracleSettings:
    """Return what the oracle must know of the workers' flags."""
    return OracleSettings(WINDOWS, grace_ms=GRACE_MS, mark_delay_ms=MARK_DELAY_MS, prefix=prefix)
