"""Drives a replay: records from a source, through each partition's pipeline, into one order."""

from collections.abc import Collection, Hashable, Iterable, Iterator
from typing import NamedTuple, Protocol

from aiokafka.structs import TopicPartition

from processors.replay.files import FileSource
from processors.replay.ordered import Ordered, Place, Replayed
from processors.replay.partition import Records, ReplayedPartition
from processors.replay.plan import Plan
from processors.replay.settings import ReplaySettings
from processors.replay.topics import TopicSource

#: Bounds of what waits for slower partitions: beyond them only the slowest is read.
HELD_RESULTS_MAX = 20_000
HELD_BYTES_MAX = 64 << 20


class Source(Protocol):
    """Where records come from."""

    def read(self, wanted: Collection[TopicPartition]) -> Iterator[tuple[TopicPartition, Records, bool]]:
        """Return what is at hand of these partitions, at least of one, each with whether it has ended."""

    def close(self) -> None:
        """Let go of it."""


class Advance(NamedTuple):
    """What one stream brought: results, and the place that all its further ones stand at or after."""

    stream: Hashable
    results: list[Replayed]
    frontier: Place
    records: int
    ended: bool


class Streams(Protocol):
    """Streams of results, each in order: the partitions of this process, or other processes."""

    @property
    def names(self) -> Iterable[Hashable]:
        """What they are called."""

    def advance(self, wanted: Collection[Hashable]) -> Iterable[Advance]:
        """Go on with any of these."""

    def close(self) -> None:
        """End them."""


class LocalPartitions:
    """The partitions of a plan, replayed in this process."""

    def __init__(self, settings: ReplaySettings, plan: Plan) -> None:
        self._partitions = {s.tp: ReplayedPartition(settings, s.origin) for s in plan}
        self._source: Source = FileSource(plan) if settings.input else TopicSource(settings.bootstrap, plan)

    @property
    def names(self) -> Iterable[Hashable]:
        """The partitions."""
        return self._partitions

    def advance(self, wanted: Collection[Hashable]) -> Iterable[Advance]:
        """Read more of these partitions, and replay it."""
        for tp, records, ended in self._source.read([tp for tp in self._partitions if tp in wanted]):
            partition = self._partitions[tp]
            before = partition.frames
            results = partition.apply(records)
            if ended or partition.ended:
                results += partition.finish()
            yield Advance(tp, results, partition.frontier, partition.frames - before, partition.ended)

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()


class Step(NamedTuple):
    """Results in their order, and how far the replay has come."""

    results: list[Replayed]
    cut: Place | None  # nothing that follows stands before; None at the end
    records: int


def merged(streams: Streams) -> Iterator[Step]:
    """Bring streams into one order; what it yields does not depend on how they are read, only how it is cut up does."""
    ordered = Ordered(streams.names)
    while ordered.unfinished:
        crowded = ordered.held > HELD_RESULTS_MAX or ordered.held_bytes > HELD_BYTES_MAX
        wanted = set(ordered.slowest() if crowded else ordered.unfinished)
        records = 0
        for advance in streams.advance(wanted):
            records += advance.records
            ordered.add(advance.stream, advance.results, advance.frontier)
            if advance.ended:
                ordered.end(advance.stream)
        yield Step(ordered.release(), ordered.cut, records)
