"""Raw topics to files: sorted, resumable, atomic, checksummed."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from processors.archive.errors import told_of
from processors.archive.files import ROWS_AT_ONCE, WRITERS, Whole, Writer, sha256
from processors.archive.manifest import (
    MANIFEST,
    ArchivedFile,
    Format,
    Manifest,
    load_manifest,
    store_manifest,
    sync_folder,
)
from processors.engine.light_records import hand_over_light_records
from processors.raw_topics import SILENT_SECONDS_MAX, raw_consumer, raw_partitions
from schemas.errors import OperationError, UsageError
from schemas.topics import MARK_KEY, Topics

log = structlog.get_logger(__name__)

FILE_ROWS_MAX = 262_144

Told = Callable[[int], None]  # so many more records were written


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What an export was asked for."""

    bootstrap: str
    topics: Topics
    folder: Path
    format: Format = "parquet"
    from_ms: int | None = None  # receive time
    to_ms: int | None = None
    file_rows_max: int = FILE_ROWS_MAX


async def export(settings: ExportSettings, told: Told = lambda _: None) -> Manifest:
    """Write what the raw topics hold now, and is not in the folder yet; returns what the folder holds then."""
    counts = await raw_partitions(settings.bootstrap, settings.topics)
    with told_of(settings.folder):
        manifest = _begun(settings, counts)
        _remove_unfinished(settings.folder)
        try:
            return await _export_all(settings, counts, manifest, told)
        except KafkaError as error:
            raise OperationError(
                f"the export was broken off ({error!r}): run it again, it goes on where it was"
            ) from error


async def _export_all(settings: ExportSettings, counts: dict[str, int], manifest: Manifest, told: Told) -> Manifest:
    async with raw_consumer(settings.bootstrap) as consumer:
        hand_over_light_records(consumer)
        for tp in [TopicPartition(t, p) for t, count in sorted(counts.items()) for p in range(count)]:
            manifest = await _export_partition(settings, consumer, tp, manifest, told)
    return manifest


def _begun(settings: ExportSettings, counts: dict[str, int]) -> Manifest:
    """Return the manifest to go on from; raises UsageError where the folder holds something else."""
    asked = Manifest(settings.format, counts, settings.from_ms, settings.to_ms)
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists():
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UsageError(f"--to {folder} holds other things than an export: choose an empty folder")
        store_manifest(folder, asked)
        return asked
    stands = load_manifest(folder)
    if (stands.format, stands.topics, stands.from_ms, stands.to_ms) != (
        asked.format, asked.topics, asked.from_ms, asked.to_ms,
    ):  # fmt: skip
        raise UsageError(
            f"--to {folder} holds an export of other topics, another range or another --format: choose an empty folder"
        )
    return stands


def _remove_unfinished(folder: Path) -> None:
    """Remove what an export that was killed left of a file."""
    for path in folder.glob("topic=*/partition=*/.*.tmp"):
        path.unlink()


async def _export_partition(
    settings: ExportSettings, consumer: AIOKafkaConsumer, tp: TopicPartition, manifest: Manifest, told: Told
) -> Manifest:
    consumer.assign([tp])
    done = manifest.of(tp.topic, tp.partition)
    begin, end = await _offsets(settings, consumer, tp)
    if done:
        if begin > done[-1].next_offset:
            raise OperationError(
                f"{tp.topic}/{tp.partition} has lost what follows the export, which ends at {done[-1].next_offset}: "
                "export into an empty folder"
            )
        begin = done[-1].next_offset
    file: _File | None = None
    try:
        async for records in _records(consumer, tp, begin, end):
            rest = records
            while rest:
                file = file or _File(settings, tp, rest[0].offset)
                room = settings.file_rows_max - file.rows
                file.write(rest[:room])
                told(len(rest[:room]))
                rest = rest[room:]
                if file.rows >= settings.file_rows_max:
                    manifest, file = _with(settings.folder, manifest, file.finish()), None
        if file is not None:
            manifest, file = _with(settings.folder, manifest, file.finish()), None
    finally:
        if file is not None:
            file.abandon()
    return manifest


async def _offsets(settings: ExportSettings, consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int]:
    first, last = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]

    async def at(moment_ms: int) -> int:
        found = (await consumer.offsets_for_times({tp: moment_ms})).get(tp)
        return int(min(found.offset, last) if found else last)

    begin = first if settings.from_ms is None else await at(settings.from_ms)
    return begin, last if settings.to_ms is None else await at(settings.to_ms)


async def _records(consumer: AIOKafkaConsumer, tp: TopicPartition, begin: int, end: int) -> AsyncIterator[list[Whole]]:
    """Yield `[begin, end)`, some thousand at a time."""
    if begin >= end:
        return
    consumer.seek(tp, begin)
    silent_s = 0.0
    while await consumer.position(tp) < end:
        fetched = (await consumer.getmany(tp, timeout_ms=500, max_records=ROWS_AT_ONCE)).get(tp, [])
        silent_s = 0.0 if fetched else silent_s + 0.5
        if silent_s > SILENT_SECONDS_MAX:
            raise OperationError(f"the broker sent nothing of {tp.topic}/{tp.partition}: look whether it is well")
        records = [Whole(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in fetched if r.offset < end]
        if records:
            yield records


def _with(folder: Path, manifest: Manifest, file: ArchivedFile) -> Manifest:
    grown = Manifest(manifest.format, manifest.topics, manifest.from_ms, manifest.to_ms, (*manifest.files, file))
    store_manifest(folder, grown)
    log.debug("export.file_complete", path=file.path, rows=file.rows)
    return grown


class _File:
    """A file under another name until it is complete."""

    def __init__(self, settings: ExportSettings, tp: TopicPartition, first_offset: int) -> None:
        self.rows = 0
        self._root, self._tp, self._first = settings.folder, tp, first_offset
        folder = settings.folder / f"topic={tp.topic}" / f"partition={tp.partition}"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{first_offset:020d}.{settings.format}"
        self._temporary = folder / f".{self._path.name}.tmp"
        self._marks, self._next, self._received_ms_min, self._received_ms_max = 0, first_offset, 2**62, -(2**62)
        make: Any = WRITERS[settings.format]
        self._writer: Writer = make(self._temporary, tp.topic, tp.partition)

    def write(self, records: list[Whole]) -> None:
        self._writer.write(records)
        self.rows += len(records)
        self._marks += sum(record.key == MARK_KEY for record in records)
        self._next = records[-1].offset + 1
        times_ms = [record.timestamp for record in records]
        self._received_ms_min = min(self._received_ms_min, *times_ms)
        self._received_ms_max = max(self._received_ms_max, *times_ms)

    def finish(self) -> ArchivedFile:
        """Have the file on the disk, whole, under its own name."""
        self._writer.close()
        with self._temporary.open("rb") as written:
            os.fsync(written.fileno())
        checksum = sha256(self._temporary)
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return ArchivedFile(
            path=str(self._path.relative_to(self._root)),
            topic=self._tp.topic,
            partition=self._tp.partition,
            first_offset=self._first,
            next_offset=self._next,
            rows=self.rows,
            marks=self._marks,
            received_ms_min=self._received_ms_min,
            received_ms_max=self._received_ms_max,
            sha256=checksum,
        )

    def abandon(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):  # a full disk is why it is abandoned
            self._writer.close()
        self._temporary.unlink(missing_ok=True)
