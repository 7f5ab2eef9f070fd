"""`manifest.json` of an export: which files are complete, what is in them, and their checksums.

A file counts once it stands in the manifest, and the manifest is replaced as a whole. So an export that was cut short
is one with fewer files, and goes on where they end.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from schemas.errors import OperationError

MANIFEST = "manifest.json"

Format = Literal["parquet", "avro"]


class ArchivedFile(msgspec.Struct, frozen=True):
    """One complete file: consecutive records of one partition, in the order of their offsets."""

    path: str  # relative to the export
    topic: str
    partition: int
    first_offset: int
    next_offset: int  # where the file after it begins
    rows: int
    marks: int  # how many of the rows are feed marks
    received_ms_min: int
    received_ms_max: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What stands in an export."""

    format: Format
    topics: dict[str, int]  # raw topic -> number of partitions
    from_ms: int | None = None
    to_ms: int | None = None
    files: tuple[ArchivedFile, ...] = ()
    version: Literal[1] = 1

    def of(self, topic: str, partition: int) -> list[ArchivedFile]:
        """Return a partition's files in their order."""
        return [file for file in self.files if (file.topic, file.partition) == (topic, partition)]


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export. Raises OperationError where there is none, or none that can be read."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise OperationError(f"{folder} is no export: there is no {MANIFEST}; make one with 'export --to'") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OperationError(f"{path} cannot be read ({why}): export again into an empty folder") from error


def store_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest as a whole, and have it on the disk; raises OSError."""
    temporary = folder / f".{MANIFEST}.tmp"
    try:
        with temporary.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest)))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(folder / MANIFEST)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
