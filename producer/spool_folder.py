"""The folder of spools: a file for each producer on the machine, `{prefix}-{slot}.spool`, with a lock beside it."""

import fcntl
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from producer.spool import Spool, SpoolRefusedError, SpoolUnreadableError, set_file_aside

_SLOTS_MAX = 1_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SpoolFolder:
    """The files of one topic prefix and one cluster; files of others are left alone."""

    folder: Path
    prefix: str
    cluster: str
    bytes_max: int
    #: Files of another cluster that were told of.
    _told: set[Path] = field(default_factory=set)

    def take(self) -> Spool:
        """Return the first slot that nobody holds, with what an earlier producer left there.

        Raises SpoolRefusedError where the folder or its files cannot be written.
        """
        for slot in range(_SLOTS_MAX):
            spool = self._try(self._path(slot))
            if spool is not None:
                return spool
        raise SpoolRefusedError(f"{_SLOTS_MAX} producers hold the slots")

    def take_leftovers(self) -> Spool | None:
        """Return another slot that nobody holds though there are rows in it, None if there is none."""
        name = re.compile(rf"{re.escape(self.prefix)}-(0|[1-9][0-9]*)\.spool")
        try:
            found = sorted(path for path in self.folder.iterdir() if name.fullmatch(path.name))
            for path in found:
                spool = self._try(path)
                if spool is not None:
                    if not spool.is_empty:
                        return spool
                    spool.close()
        except (OSError, SpoolRefusedError):
            pass  # not ours to write: told of where it is our own
        return None

    def _path(self, slot: int) -> Path:
        return self.folder / f"{self.prefix}-{slot}.spool"

    def _try(self, path: Path) -> Spool | None:
        """Open a file; None if another producer holds it, or it holds rows for another cluster."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("ab")
        except OSError as error:
            raise SpoolRefusedError(error.strerror) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spool = self._open(path, lock)
        except BlockingIOError:
            lock.close()
            return None
        except BaseException:
            lock.close()
            raise
        if spool.cluster == self.cluster:
            return spool
        spool.close()
        if path not in self._told:
            self._told.add(path)
            log.warning(
                "spool.of_another_cluster",
                path=str(path),
                cluster=spool.cluster,
                remedy="it is published by a producer for that cluster; delete it if that cluster is no more",
            )
        return None

    def _open(self, path: Path, lock: IO[bytes]) -> Spool:
        try:
            return Spool(path, self.cluster, self.bytes_max, lock)
        except SpoolUnreadableError as error:
            set_file_aside(path, error)
            return Spool(path, self.cluster, self.bytes_max, lock)
