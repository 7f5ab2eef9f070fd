"""The spool: a bounded, crash-safe file of entries in the order of their numbers, for when Kafka is away for long.

SQLite with a write-ahead log. A transaction that returned survives the end of this process, however it ends; a power
cut may take the last ones, always from the newest back, and never one that was `hand_out`.

    number   1 ………… 480   481 ………… 900   901 ………… 5000
             deleted      handed out     rows nobody has
             (in Kafka)   (perhaps in    seen yet
                          Kafka)
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from producer.entries import Entry

#: Of this form of the file; another is not touched.
_FORM = 1
_PAGE_BYTES = 16 * 1024
#: So many pages of the log are merged into the file at once.
_CHECKPOINT_PAGES = 256
_SLOTS_MAX = 1_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode

log = structlog.get_logger(__name__)


class SpoolRefusedError(Exception):
    """Nothing can be written: the spool's bound, a full disk, a folder that is not ours; the message says which."""


class SpoolUnreadableError(Exception):
    """What stands in the file cannot be read."""


class Spool:
    """One open file. Numbers rise; nothing but `append` and `hand_out` can be refused. For one thread."""

    def __init__(self, path: Path, cluster: str, bytes_max: int, lock: IO[bytes]) -> None:
        self.path = path
        self.bytes_max = bytes_max
        self._lock = lock
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise SpoolRefusedError(str(error)) from error
        try:
            self._open(cluster, bytes_max)
        except BaseException:
            self._db.close()
            raise

    def _open(self, cluster: str, bytes_max: int) -> None:
        try:
            (form,) = self._one("PRAGMA user_version")
            if form not in (0, _FORM):
                raise SpoolUnreadableError(f"its form is {form}, and this version knows {_FORM}")
            self._db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")  # no shared memory: nobody else may look
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA max_page_count={bytes_max // _PAGE_BYTES}")
            if form == 0:
                with self._transaction():
                    self._db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, entry BLOB NOT NULL)")
                    self._db.execute("CREATE TABLE about (cluster TEXT NOT NULL, handed_out INTEGER NOT NULL)")
                    self._db.execute("INSERT INTO about VALUES (?, 0)", (cluster,))
                    self._db.execute(f"PRAGMA user_version={_FORM}")
            #: Which cluster the rows are for, and up to where they may stand in it already.
            self.cluster, self.handed_out = self._one("SELECT cluster, handed_out FROM about")
            first, last = self._one("SELECT min(number), max(number) FROM rows")
            #: No row is below the first, 0 while there is none at all; none was ever above the last.
            self.first: int = first or 0
            self.last: int = last or 0
            if first is None:
                self.cluster, self.handed_out = cluster, 0
                with self._transaction():
                    self._db.execute("UPDATE about SET cluster = ?, handed_out = 0", (cluster,))
        except sqlite3.Error as error:
            raise _explained(error) from error

    @property
    def is_empty(self) -> bool:
        """Whether no row is left."""
        return self.first == 0

    @property
    def used_bytes(self) -> int:
        """What the rows take of the bound."""
        with suppress(sqlite3.Error):
            return int(self._one("PRAGMA page_count")[0] - self._one("PRAGMA freelist_count")[0]) * _PAGE_BYTES
        return 0

    def append(self, entries: Iterable[Entry]) -> None:
        """Add entries, all or none; their numbers are above all before. Raises SpoolRefusedError."""
        rows = [(entry.number, _encode(entry)) for entry in entries]
        try:
            with self._transaction():
                self._db.executemany("INSERT INTO rows VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise SpoolRefusedError(str(error)) from error
        self.first, self.last = self.first or rows[0][0], rows[-1][0]

    def hand_out(self, up_to: int, *, acknowledged_before: int = 0) -> None:
        """Note, before it happens, that rows up to this number go to Kafka; and drop those that are safely there.

        On the disk itself when this returns: a power cut must not bring back rows as if nobody had seen them. Raises
        SpoolRefusedError.
        """
        try:
            with self._transaction(synced=True):
                self._db.execute("UPDATE about SET handed_out = max(handed_out, ?)", (up_to,))
                self._db.execute("DELETE FROM rows WHERE number < ?", (acknowledged_before,))
        except sqlite3.Error as error:
            raise SpoolRefusedError(str(error)) from error
        self.handed_out = max(up_to, self.handed_out)
        if self.first:
            self.first = max(self.first, acknowledged_before)

    def read(self, first: int, cost_bytes_max: int) -> list[Entry]:
        """Return the entries from a number on, one at least, up to so much. Raises SpoolUnreadableError."""
        entries: list[Entry] = []
        for entry in self._from(first, 2**62):
            cost_bytes_max -= entry.cost_bytes
            if entries and cost_bytes_max < 0:
                break
            entries.append(entry)
        return entries

    def suspects(self) -> Iterator[Entry]:
        """Yield the entries that an earlier producer handed out: Kafka may have them. Raises SpoolUnreadableError."""
        return self._from(0, self.handed_out)

    def clear(self) -> bool:
        """Drop all rows, and give the disk its room back; False if the rows have to stay: the next start finds out."""
        try:
            with self._transaction():
                self._db.execute("DELETE FROM rows")
                self._db.execute("UPDATE about SET handed_out = 0")
        except sqlite3.Error:
            return False
        self.first = 0
        with suppress(sqlite3.Error):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def close(self) -> None:
        """Close the file, and leave the slot to others."""
        with suppress(sqlite3.Error):
            self._db.close()
        self._lock.close()

    def set_aside(self, error: SpoolUnreadableError) -> None:
        """Close, and put the file where no producer looks for it."""
        with suppress(sqlite3.Error):
            self._db.close()
        set_file_aside(self.path, error)
        self._lock.close()

    def _from(self, first: int, last: int) -> Iterator[Entry]:
        try:
            for number, row in self._db.execute(
                "SELECT number, entry FROM rows WHERE number BETWEEN ? AND ? ORDER BY number", (first, last)
            ):
                entry = _decode(row)
                entry.number = number
                yield entry
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise SpoolUnreadableError(str(error)) from error

    def _one(self, statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._db.execute(statement).fetchone()
        if row is None:
            raise SpoolUnreadableError("it says nothing about itself")
        return row

    @contextmanager
    def _transaction(self, *, synced: bool = False) -> Iterator[None]:
        db = self._db
        if synced:
            db.execute("PRAGMA synchronous=FULL")
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        finally:
            if synced:
                db.execute("PRAGMA synchronous=NORMAL")


def _explained(error: sqlite3.Error) -> SpoolRefusedError | SpoolUnreadableError:
    """Tell a file that is no spool from one that the system does not let us have."""
    spoilt = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR")  # the last: a database without our tables
    name = getattr(error, "sqlite_errorname", "")
    return SpoolUnreadableError(str(error)) if name.startswith(spoilt) else SpoolRefusedError(str(error))


def set_file_aside(path: Path, error: SpoolUnreadableError) -> None:
    """Rename an unreadable file and its log, for a person to look at: a new file must not find the log of the old."""
    number = 0
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    for ending in ("", "-wal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    log.error(
        "spool.unreadable",
        path=str(path),
        error=str(error),
        moved_to=str(aside),
        remedy="look at the disk; what was in it is shown as not covered",
    )
