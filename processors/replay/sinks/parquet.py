"""Finals as Parquet in hive partitions: `aggregate=…/date=…/part-0.parquet`, the date being that of the window's start.

All of it is written beside the folder that was asked for, under a hidden name, and takes its name in one step at the
end: the folder is there whole, or not at all.
"""

import contextlib
import glob
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from processors.archive.errors import told_of
from processors.archive.manifest import sync_folder
from processors.pipeline import PipelineSettings
from processors.replay.kinds import final_kinds
from processors.replay.ordered import Replayed
from processors.replay.results import ARROW_SCHEMAS, arrow_table, row
from schemas.errors import UsageError
from schemas.moments import iso

ROWS_PER_GROUP = 20_000
OPEN_FILES_MAX = 16


class ParquetFolder:
    """Rows wait for a row group's worth; where many files are open, the one left alone longest is closed."""

    def __init__(self, settings: PipelineSettings, folder: Path) -> None:
        self._kinds, self._folder = final_kinds(settings), folder
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"--to-parquet {folder} is there already: choose a new folder, or remove it")
        self._temporary = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
        self._rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._files: dict[tuple[str, str], Any] = {}  # the one written last at the end
        self._parts: dict[tuple[str, str], int] = {}
        self._waiting = 0
        with told_of(folder):
            _remove_left_behind(folder)
            self._temporary.mkdir(parents=True)

    def write(self, results: list[Replayed]) -> None:
        """Take the finals among results."""
        for one in results:
            kind = self._kinds.get(one.result.topic)
            if kind is None:
                continue
            values = row(one, kind)
            where = kind.aggregate.name, iso(values["window_start"])[:10]
            self._rows.setdefault(where, []).append(values)
            self._waiting += 1
        if self._waiting >= ROWS_PER_GROUP:
            self._write_out()

    def commit(self) -> None:
        """Write the rest, and give the folder its name."""
        self._write_out()
        with told_of(self._folder):
            while self._files:
                self._close_one()
            for path in self._temporary.rglob("*"):
                if path.is_dir():
                    sync_folder(path)
            sync_folder(self._temporary)
            self._temporary.replace(self._folder)  # takes the place of an empty folder too
            sync_folder(self._folder.parent)

    def abandon(self) -> None:
        """Remove what was written."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _write_out(self) -> None:
        with told_of(self._folder):
            for where, rows in sorted(self._rows.items()):
                self._file(where).write_table(arrow_table(where[0], rows))
        self._rows.clear()
        self._waiting = 0

    def _file(self, where: tuple[str, str]) -> Any:
        file = self._files.pop(where, None)
        if file is None:
            while len(self._files) >= OPEN_FILES_MAX:
                self._close_one()
            folder = self._temporary / f"aggregate={where[0]}" / f"date={where[1]}"
            folder.mkdir(parents=True, exist_ok=True)
            number = self._parts[where] = self._parts.get(where, -1) + 1
            file = pq.ParquetWriter(folder / f"part-{number}.parquet", ARROW_SCHEMAS[where[0]], compression="zstd")
        self._files[where] = file
        return file

    def _close_one(self) -> None:
        where = next(iter(self._files))
        file = self._files.pop(where)
        file.close()
        folder = self._temporary / f"aggregate={where[0]}" / f"date={where[1]}"
        with (folder / f"part-{self._parts[where]}.parquet").open("rb") as written:
            os.fsync(written.fileno())


def _remove_left_behind(folder: Path) -> None:
    """Remove what replays into the same folder left that were killed."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdigit() and not _runs(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
