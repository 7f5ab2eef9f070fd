"""What a feed storm is asked for: frozen, and checked once at start."""

from dataclasses import dataclass
from pathlib import Path

PROCESS_BLOWS = ("kill", "freeze", "stop")
BROKER_BLOWS = ("broker-kill", "broker-freeze", "broker-restart", "broker-outage")
FEED_BLOWS = (
    *("cut", "half-open", "no-pong", "flood", "drip", "lull", "odd", "pieces"),
    *("too-long", "oversized", "compressed", "close", "refuse", "feed-restart"),
)
BLOWS = (*FEED_BLOWS, *PROCESS_BLOWS, *BROKER_BLOWS, "netcut")

#: What a producer may lack while it is being built: then what depends on it is not looked at.
LACKS = ("spool", "hold-off")

PRODUCERS_MAX = 3
GROUP = "storm"
KEY = "odd/secret+KEY=42~of~storms"


@dataclass(frozen=True)
class Patience:
    """How long a producer waits for what, ms; as in its settings."""

    ping_every_ms: int = 20_000
    pong_timeout_ms: int = 10_000
    probe_every_ms: int = 1_000
    backoff_first_ms: int = 500
    backoff_ms_max: int = 30_000
    healthy_after_ms: int = 10_000
    connect_timeout_ms: int = 10_000

    @property
    def notice_ms(self) -> int:
        """Longest until a connection is known to be dead."""
        return self.ping_every_ms + self.pong_timeout_ms


USUAL = Patience()
#: For storms of seconds: nothing else of the producer is another.
QUICK = Patience(2_000, 1_000, 300, 100, 1_500, 3_000, 2_000)


@dataclass(frozen=True)
class FeedStormSettings:
    """One storm. Raises ValueError for one that cannot be."""

    seconds: float
    seed: int
    producers: int = 1
    redundant: bool = False
    rate: float = 300.0  # ticks a second, each of one frame or a few
    blows: tuple[str, ...] = BLOWS
    quick: bool = False
    pace: float = 1.0
    buffer_mib: int = 8
    mark_every_ms: int = 1_000
    lacks: tuple[str, ...] = ()
    keep: Path | None = None  # where data and logs stay; none: they are deleted if all was well
    settle_seconds_max: float = 120.0

    def __post_init__(self) -> None:
        for given, known in ((self.blows, BLOWS), (self.lacks, LACKS)):
            if unknown := sorted({*given} - {*known}):
                raise ValueError(f"no such thing: {', '.join(unknown)}; there are {', '.join(known)}")
        if not 1 <= self.producers <= PRODUCERS_MAX:
            raise ValueError(f"{self.producers} producers: 1 to {PRODUCERS_MAX}")
        if self.producers > 1 and not self.redundant:
            raise ValueError("several producers without a group would count everything several times: --redundant")
        if self.seconds <= 0 or self.rate <= 0 or self.pace <= 0:
            raise ValueError("seconds, rate and pace must be more than 0")

    @property
    def patience(self) -> Patience:
        """How long its producers wait."""
        return QUICK if self.quick else USUAL

    def has(self, feature: str) -> bool:
        """Whether the producer has this already."""
        return feature not in self.lacks
