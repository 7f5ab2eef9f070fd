"""Whether there is room where state, spool and an embedded Kafka's data lie."""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coinglass_streams.doctor.findings import Finding, Level

GIB = 1 << 30
#: Kafka stops altogether on a full disk; a day of 1,000 frames/s takes some 25 GB.
FREE_BYTES_FAIL, FREE_BYTES_WARN = GIB // 2, 5 * GIB


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """A file system, and the folders of ours that lie on it or would."""

    folders: tuple[Path, ...]
    free_bytes: int
    writable: bool


def look_at_disk(folders: Iterable[Path]) -> list[DiskSeen]:
    """Return each file system once. A folder that is not there yet is looked at where it would be made."""
    found: dict[int, DiskSeen] = {}
    for folder in dict.fromkeys(folders):
        stands = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        device, writable = stands.stat().st_dev, os.access(stands, os.W_OK)
        known = found.get(device, DiskSeen((), shutil.disk_usage(stands).free, writable=True))
        found[device] = DiskSeen((*known.folders, folder), known.free_bytes, known.writable and writable)
    return list(found.values())


def judge_disk(seen: Sequence[DiskSeen]) -> list[Finding]:
    """Say where there is too little room."""
    findings = []
    for disk in seen:
        folders = ", ".join(map(str, disk.folders))
        says = f"{disk.free_bytes / GIB:,.1f} GiB free at {folders}"
        if not disk.writable:
            findings.append(
                Finding("disk", Level.FAIL, f"{folders} cannot be written", "see its owner and permissions")
            )
        elif disk.free_bytes < FREE_BYTES_WARN:
            level = Level.FAIL if disk.free_bytes < FREE_BYTES_FAIL else Level.WARN
            findings.append(Finding("disk", level, says, "make room, or move the folders: --state-dir, --data-dir"))
        else:
            findings.append(Finding("disk", Level.OK, says))
    return findings
