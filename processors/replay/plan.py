"""Which stretch of which partition a replay reads: settled once at its start, so that every job reads the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.structs import TopicPartition

from processors.replay.partition import Origin


@dataclass(frozen=True, slots=True)
class Stretch:
    """`[begin, end)` of the offsets of one partition; from files, if there are any, else from the broker's log."""

    topic: str
    partition: int
    begin: int
    end: int
    cut: bool  # whether records before it were not read, or are gone
    files: tuple[Path, ...] = ()
    checksums: tuple[str, ...] = ()  # of the files, sha256

    @property
    def tp(self) -> TopicPartition:
        """The partition, as aiokafka names it."""
        return TopicPartition(self.topic, self.partition)

    @property
    def origin(self) -> Origin:
        """Where its reading begins."""
        return Origin(self.topic, self.partition, self.cut)

    @property
    def records(self) -> int:
        """How many records it holds at most."""
        return max(0, self.end - self.begin)


Plan = tuple[Stretch, ...]


def split(plan: Plan, jobs: int) -> list[Plan]:
    """Spread partitions over jobs so that each has about as many records; no more jobs than there are partitions."""
    parts: list[list[Stretch]] = [[] for _ in range(min(jobs, len(plan)))]
    for stretch in sorted(plan, key=lambda s: (-s.records, s.tp)):
        min(parts, key=lambda part: (_records(part), len(part))).append(stretch)
    return [tuple(part) for part in parts]


def _records(stretches: Iterable[Stretch]) -> int:
    return sum(stretch.records for stretch in stretches)


def total_records(plan: Sequence[Stretch]) -> int:
    """Return how many records a plan reads at most."""
    return _records(plan)
