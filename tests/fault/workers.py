"""The workers of a storm, under a supervisor that starts each again whenever it ends."""

import asyncio
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import launcher
from tests.fault.netns import Namespaces

RESTART_PAUSE_SECONDS = 0.2
STOP_SECONDS_MAX = 30.0

#: Stands in the environment of every process of a storm: so that none can be left over unseen.
MARK = "FAULT_STORM"

_TAKEN = re.compile(r" event=engine\.recovered .*?\btaken=(\"[^\"]*\"|\S+) kept=(\"[^\"]*\"|\S+)")


@dataclass
class Life:
    """One process of a worker, from its start to its end; times are of the monotonic clock."""

    slot: int
    process: Process
    log: Path
    began: float
    blows: list[str] = field(default_factory=list)
    frozen: bool = False
    cut: bool = False
    ended: float | None = None

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    @property
    def untouched(self) -> bool:
        """Whether it runs, and no blow is at work on it."""
        return self.alive and not self.frozen and not self.cut and not {"kill", "stop"} & {*self.blows}

    def hit(self, blow: str, how: signal.Signals) -> None:
        """Send a signal, and remember why."""
        self.blows.append(blow)
        if self.alive:
            self.process.send_signal(how)

    def owned(self) -> list[tuple[str, int]]:
        """Return the raw partitions it owns, by the last of its log's lines that say so."""
        found = _TAKEN.findall(self.log.read_text(errors="replace"))
        names = " ".join(part.strip('"') for part in found[-1]).split() if found else []
        return [(name.rpartition("/")[0], int(name.rpartition("/")[2])) for name in names if name != "none"]


@dataclass
class Slot:
    """A place for a worker, with its name in the group and its address."""

    number: int
    command: list[str]
    web: str
    wanted: bool = False
    life: Life | None = None
    task: "asyncio.Task[None] | None" = None


class Workers:
    """Keeps as many workers running as are wanted. `lives` holds all there have been."""

    def __init__(self, folder: Path, slots: list[Slot], mark: str) -> None:
        self.lives: list[Life] = []
        self._folder, self._slots, self._mark = folder, slots, mark
        self.pause_seconds = RESTART_PAUSE_SECONDS

    def untouched(self) -> list[Life]:
        """Return the running workers that no blow is at work on, in the order of their slots."""
        return [slot.life for slot in self._slots if slot.life is not None and slot.life.untouched]

    def running(self) -> Iterator[tuple[Life, str]]:
        """Yield the running workers, each with the address of its web views."""
        for slot in self._slots:
            if slot.life is not None and slot.life.alive:
                yield slot.life, slot.web

    async def scale(self, count: int) -> None:
        """Want the first `count` slots filled and no others; stop what is too many, as an operator would."""
        for slot in self._slots:
            slot.wanted = slot.number < count
            if slot.wanted and (slot.task is None or slot.task.done()):
                slot.task = asyncio.create_task(self._supervise(slot))
        extra = [slot for slot in self._slots if not slot.wanted and slot.life is not None and slot.life.alive]
        for slot in extra:
            assert slot.life is not None
            slot.life.hit("stop", signal.SIGTERM)

    async def until_ready(self, seconds_max: float) -> None:
        """Return once every wanted worker says that it is ready. Raises TimeoutError."""
        async with asyncio.timeout(seconds_max):
            for slot in self._slots:
                while slot.wanted and not await _is_up(slot):  # noqa: ASYNC110 - another process is asked
                    await asyncio.sleep(0.1)

    async def stop_all(self) -> list[str]:
        """Ask all to stop; return who did not within STOP_SECONDS_MAX, and was killed."""
        for slot in self._slots:
            slot.wanted = False
            if slot.life is not None and slot.life.alive:
                slot.life.hit("stop", signal.SIGTERM)
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        if not tasks:
            return []
        await asyncio.wait(tasks, timeout=STOP_SECONDS_MAX)
        stuck = [slot.life for slot in self._slots if slot.life is not None and slot.life.alive]
        for life in stuck:
            life.hit("kill", signal.SIGKILL)
        await asyncio.wait(tasks, timeout=STOP_SECONDS_MAX)
        return [f"{life.log.name} did not stop within {STOP_SECONDS_MAX:.0f} s" for life in stuck]

    async def kill_all(self) -> None:
        """Leave nothing running."""
        for slot in self._slots:
            slot.wanted = False
            if slot.life is not None and slot.life.alive:
                slot.life.hit("kill", signal.SIGKILL)
        await asyncio.gather(*(slot.task for slot in self._slots if slot.task is not None), return_exceptions=True)

    def left_over(self) -> list[int]:
        """Return the ids of processes that bear the storm's mark."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self._mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # ended meanwhile, or not ours
                continue
        return [pid for pid in found if pid != os.getpid()]

    async def _supervise(self, slot: Slot) -> None:
        while slot.wanted:
            slot.life = await self._start(slot)
            self.lives.append(slot.life)
            await slot.life.process.wait()
            slot.life.ended = time.monotonic()
            await asyncio.sleep(self.pause_seconds)

    async def _start(self, slot: Slot) -> Life:
        log = self._folder / f"worker-{slot.number}-life-{len(self.lives)}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
        began = time.monotonic()
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *slot.command),
                env={**environment, MARK: self._mark},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return Life(slot.number, process, log, began)


def worker_slot(
    number: int,
    flags: list[str],
    folder: Path,
    *,
    member: str | None,
    web_port: int,
    program: Sequence[str] = ("coinglass_streams",),
    namespaces: Namespaces | None = None,
) -> Slot:
    """Return a slot whose worker is `process` with these flags, as the command of `program`: a module and arguments."""
    host = namespaces.address(number) if namespaces else "127.0.0.1"
    command = [
        *(namespaces.command(number) if namespaces else []),
        *(sys.executable, "-m", *program, "process", *flags, "--state-dir", str(folder / f"state-{number}")),
        *("--web-host", host, "--web-port", str(web_port)),
        *(("--member", member) if member else ()),
    ]
    return Slot(number, command, f"http://{host}:{web_port}")


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


async def _is_up(slot: Slot) -> bool:
    return slot.life is not None and slot.life.alive and await is_ready(slot.web)


async def is_ready(web: str) -> bool:
    try:
        return (await get(f"{web}/ready", 2.0))[0] == 200
    except OSError:
        return False
