"""The workers of a storm."""

import asyncio
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fault.netns import Namespaces
from tests.fault.supervisor import Life, Slot, Supervisor

_TAKEN = re.compile(r" event=engine\.recovered .*?\btaken=(\"[^\"]*\"|\S+) kept=(\"[^\"]*\"|\S+)")


@dataclass
class WorkerSlot(Slot):
    """A place for a worker, with its name in the group and its address."""

    web: str = ""


class Workers(Supervisor):
    """Keeps as many workers running as are wanted."""

    slots: Sequence[WorkerSlot]

    def __init__(self, folder: Path, slots: Sequence[WorkerSlot], mark: str) -> None:
        super().__init__("worker", folder, slots, mark)

    def running(self) -> Iterator[tuple[Life, str]]:
        """Yield the running workers, each with the address of its web views."""
        for slot in self.slots:
            if slot.life is not None and slot.life.alive:
                yield slot.life, slot.web

    async def until_ready(self, seconds_max: float) -> None:
        """Return once every wanted worker says that it is ready. Raises TimeoutError."""
        async with asyncio.timeout(seconds_max):
            for slot in self.slots:
                while slot.wanted and not await _is_up(slot):  # noqa: ASYNC110 - another process is asked
                    await asyncio.sleep(0.1)


def owned(life: Life) -> list[tuple[str, int]]:
    """Return the raw partitions that a worker owns, by the last of its log's lines that say so."""
    found = _TAKEN.findall(life.log.read_text(errors="replace"))
    names = " ".join(part.strip('"') for part in found[-1]).split() if found else []
    return [(name.rpartition("/")[0], int(name.rpartition("/")[2])) for name in names if name != "none"]


def worker_slot(
    number: int,
    flags: list[str],
    folder: Path,
    *,
    member: str | None,
    web_port: int,
    program: Sequence[str] = ("coinglass_streams",),
    namespaces: Namespaces | None = None,
) -> WorkerSlot:
    """Return a slot whose worker is `process` with these flags, as the command of `program`: a module and arguments."""
    host = namespaces.address(number) if namespaces else "127.0.0.1"
    command = [
        *(namespaces.command(number) if namespaces else []),
        *(sys.executable, "-m", *program, "process", *flags, "--state-dir", str(folder / f"state-{number}")),
        *("--web-host", host, "--web-port", str(web_port)),
        *(("--member", member) if member else ()),
    ]
    return WorkerSlot(number, command, web=f"http://{host}:{web_port}")


async def get(address: str, seconds_max: float = 10.0) -> tuple[int, bytes]:
    """Return status and body of a GET. Raises OSError."""

    def fetch() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(address, timeout=seconds_max) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(fetch)


async def _is_up(slot: WorkerSlot) -> bool:
    return slot.life is not None and slot.life.alive and await is_ready(slot.web)


async def is_ready(web: str) -> bool:
    try:
        return (await get(f"{web}/ready", 2.0))[0] == 200
    except OSError:
        return False
