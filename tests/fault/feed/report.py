"""What a feed storm tells: one JSON line for machines, a table for people. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.fault.feed.settings import FeedStormSettings
from tests.fault.report import Outcome, counted


@dataclass
class FeedReport(Outcome):
    """One feed storm, over."""

    seed: int
    seconds: float
    producers: int
    redundant: bool
    left_out: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    covered_share: float = 0.0
    peak_mib: float = 0.0
    told: list[str] = field(default_factory=list)  # each blow, as it fell
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: FeedStormSettings) -> Self:
        """Begin the report of a storm."""
        lacks = [f"the producer's {lack}" for lack in settings.lacks]
        return cls(settings.seed, settings.seconds, settings.producers, settings.redundant, lacks)

    def shown(self) -> Sequence[tuple[str, str]]:
        return [
            ("seed", str(self.seed)),
            ("length", f"{self.seconds:.0f} s"),
            ("producers", f"{self.producers}, {'a redundant group' if self.redundant else 'no group'}"),
            ("blows", counted(self.blows)),
            ("left out", "; ".join(self.left_out) or "nothing"),
            ("stood", counted(self.counts)),
            ("covered", f"{self.covered_share:.1%} of the time"),
            ("exits", counted(self.exits)),
            ("memory", f"{self.peak_mib:.0f} MiB at most"),
        ]
