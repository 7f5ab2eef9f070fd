"""Raw records from exported files: one after the other, checked against their checksums as they are opened."""

from collections.abc import Collection, Iterator
from itertools import chain

from aiokafka.structs import TopicPartition

from processors.archive.files import Raw, RawReader, check_file
from processors.archive.manifest import ArchivedFile, load_manifest
from processors.replay.partition import WARM_UP_MS, Records
from processors.replay.plan import Plan, Stretch
from processors.replay.settings import ReplaySettings


class FileSource:
    """Reads the stretches of a plan, a row group at a time."""

    def __init__(self, plan: Plan) -> None:
        self._batches = {s.tp: _batches(s) for s in plan}

    def read(self, wanted: Collection[TopicPartition]) -> Iterator[tuple[TopicPartition, Records, bool]]:
        """Return the next rows of these partitions, each with whether it has ended."""
        for tp in wanted:
            records = next(self._batches[tp], None)
            yield (tp, [], True) if records is None else (tp, records, False)

    def close(self) -> None:
        """Let go of the files."""
        self._batches.clear()


def _batches(stretch: Stretch) -> Iterator[list[Raw]]:
    reader = RawReader()

    def of_file(index: int) -> Iterator[list[Raw]]:
        check_file(stretch.files[index], stretch.checksums[index])
        return reader.read(stretch.files[index])

    return chain.from_iterable(map(of_file, range(len(stretch.files))))


def plan_files(settings: ReplaySettings) -> Plan:
    """Return what to read of an export. Raises OperationError where it is none, or files are missing."""
    assert settings.input is not None
    manifest = load_manifest(settings.input)
    plan = []
    for topic, count in sorted(manifest.topics.items()):
        for partition in range(count):
            files = [f for f in manifest.files if (f.topic, f.partition) == (topic, partition)]
            first = _first_needed(files, settings)
            needed = files[first:]
            begin = needed[0].first_offset if needed else 0
            plan.append(
                Stretch(
                    topic,
                    partition,
                    begin,
                    begin + sum(f.rows for f in needed),
                    begin > 0,
                    tuple(settings.input / f.path for f in needed),
                    tuple(f.sha256 for f in needed),
                )
            )
    return tuple(plan)


def _first_needed(files: list[ArchivedFile], settings: ReplaySettings) -> int:
    """Return which file reading begins with: marks must stand between it and the range, else it is the very first."""
    from_ms = settings.range.from_ms
    if from_ms is None:
        return 0
    if settings.range.clock == "receive" and all(f.received_ms_max < from_ms for f in files):
        return len(files)  # nothing of it can be in the range
    first = 0
    while first < len(files) and files[first].received_ms_max < from_ms - WARM_UP_MS:
        first += 1
    warm = [f for f in files[first:] if f.received_ms_max < from_ms]
    return first if any(f.marks for f in warm) else 0
