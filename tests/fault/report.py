"""What a storm tells: one JSON line for machines, a table for people. Pure."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.fault.settings import StormSettings

PROBLEMS_SHOWN_MAX = 20
CHARACTERS_SHOWN_MAX = 400


class Outcome:
    """What is the same of all storms' reports."""

    left_out: list[str]
    told: list[str]  # each blow, as it fell
    problems: list[str]

    @property
    def passed(self) -> bool:
        """Whether all was as it should be."""
        return not self.problems

    def line(self) -> str:
        """Return it as one line of JSON."""
        values = {"passed": self.passed, **vars(self)}
        del values["told"]
        values["problem_count"] = len(self.problems)
        values["problems"] = [problem[:CHARACTERS_SHOWN_MAX] for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        return json.dumps(values)

    def story(self) -> str:
        """Return what happened when, for whoever looks for the reason of something."""
        return "\n".join([*self.told, *self.problems, ""])

    def shown(self) -> Sequence[tuple[str, str]]:
        """Return what the table shows below the result, each with its name."""
        raise NotImplementedError

    def table(self) -> str:
        """Return it as lines to read."""
        result = "passed" if self.passed else f"FAILED: {len(self.problems)} problems"
        lines = [f"  {name:<14} {text}" for name, text in (("result", result), *self.shown())]
        lines += [f"  ! {problem[:CHARACTERS_SHOWN_MAX]}" for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        return "\n".join(lines)


@dataclass
class Report(Outcome):
    """One storm, over."""

    seed: int
    seconds: float
    workers: int
    membership: str
    nodes: int
    fencing: bool
    left_out: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    restarts: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    longest_gap_seconds: float = 0.0
    resumes_seconds: list[float] = field(default_factory=list)
    not_resumed: int = 0
    gaps: list[str] = field(default_factory=list)  # the longest of each source partition
    told: list[str] = field(default_factory=list)  # each blow, as it fell
    settle_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: StormSettings) -> Self:
        """Begin the report of a storm."""
        return cls(
            *(settings.seed, settings.seconds, settings.workers),
            *(settings.membership, settings.nodes, settings.fencing),
        )

    def story(self) -> str:
        """Return what happened when, for whoever looks for the reason of something."""
        return "\n".join([*self.told, *(f"no results for {gap}" for gap in self.gaps), ""])

    def shown(self) -> Sequence[tuple[str, str]]:
        return [
            ("seed", str(self.seed)),
            ("length", f"{self.seconds:.0f} s, and {self.settle_seconds:.1f} s until all was processed"),
            ("workers", f"{self.workers}, {self.membership} members, {self.nodes} broker(s)"),
            ("fencing", "on" if self.fencing else "OFF: this is the control, and must fail"),
            ("blows", counted(self.blows)),
            ("left out", "; ".join(self.left_out) or "nothing"),
            ("frames", str(self.frames)),
            ("results", counted(self.counts)),
            ("lives", f"{self.lives}, of which {self.restarts} restarts"),
            ("exits", counted(self.exits)),
            ("longest gap", f"{self.longest_gap_seconds:.1f} s without a result of some partition"),
            ("after kill -9", f"{spread(self.resumes_seconds)} until results flowed again"),
        ]


def spread(seconds: Sequence[float]) -> str:
    """Return median and largest, for people."""
    if not seconds:
        return "never measured"
    return f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s of {len(seconds)}"


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"
