"""What a feed storm tells: one JSON line for machines, a table for people. Pure."""

import json
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Self

from tests.fault.feed.settings import FeedStormSettings
from tests.fault.report import CHARACTERS_SHOWN_MAX, PROBLEMS_SHOWN_MAX, counted


@dataclass
class FeedReport:
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

    @property
    def passed(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """Return it as one line of JSON."""
        values = {"passed": self.passed, **{f.name: getattr(self, f.name) for f in fields(self)}}
        del values["told"]
        values["problem_count"] = len(self.problems)
        values["problems"] = [problem[:CHARACTERS_SHOWN_MAX] for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        return json.dumps(values)

    def story(self) -> str:
        """Return what happened when, for whoever looks for the reason of something."""
        return "\n".join([*self.told, *self.problems, ""])

    def table(self) -> str:
        """Return it as lines to read."""
        shown = [
            ("result", "passed" if self.passed else f"FAILED: {len(self.problems)} problems"),
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
        lines = [f"  {name:<14} {text}" for name, text in shown]
        lines += [f"  ! {problem[:CHARACTERS_SHOWN_MAX]}" for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        return "\n".join(lines)
