"""Processes of a storm under a supervisor that starts each again whenever it ends."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from sandbox import launcher

RESTART_PAUSE_SECONDS = 0.2
STOP_SECONDS_MAX = 30.0

#: Stands in the environment of every process of a storm: so that none can be left over unseen.
MARK = "FAULT_STORM"


@dataclass
class Life:
    """One process, from its start to its end; times are of the monotonic clock."""

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


@dataclass
class Slot:
    """A place for a process, with the command that runs there."""

    number: int
    command: list[str]
    wanted: bool = False
    life: Life | None = None
    task: "asyncio.Task[None] | None" = None


class Supervisor:
    """Keeps as many slots filled as are wanted. `lives` holds all processes there have been."""

    def __init__(
        self,
        name: str,
        folder: Path,
        slots: Sequence[Slot],
        mark: str,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.lives: list[Life] = []
        self._name, self._folder, self.slots, self._mark, self._environment = name, folder, slots, mark, environment
        self.pause_seconds = RESTART_PAUSE_SECONDS

    def untouched(self) -> list[Life]:
        """Return the running processes that no blow is at work on, in the order of their slots."""
        return [slot.life for slot in self.slots if slot.life is not None and slot.life.untouched]

    async def scale(self, count: int) -> None:
        """Want the first `count` slots filled and no others; stop what is too many, as an operator would."""
        for slot in self.slots:
            slot.wanted = slot.number < count
            if slot.wanted and (slot.task is None or slot.task.done()):
                slot.task = asyncio.create_task(self._supervise(slot))
        extra = [slot for slot in self.slots if not slot.wanted and slot.life is not None and slot.life.alive]
        for slot in extra:
            assert slot.life is not None
            slot.life.hit("stop", signal.SIGTERM)

    async def stop_all(self, seconds_max: float = STOP_SECONDS_MAX) -> list[str]:
        """Ask all to stop; return who did not in time, and was killed."""
        for slot in self.slots:
            slot.wanted = False
            if slot.life is not None and slot.life.alive:
                slot.life.hit("stop", signal.SIGTERM)
        tasks = [slot.task for slot in self.slots if slot.task is not None]
        if not tasks:
            return []
        await asyncio.wait(tasks, timeout=seconds_max)
        stuck = [slot.life for slot in self.slots if slot.life is not None and slot.life.alive]
        for life in stuck:
            life.hit("kill", signal.SIGKILL)
        await asyncio.wait(tasks, timeout=seconds_max)
        return [f"{life.log.name} did not stop within {seconds_max:.0f} s" for life in stuck]

    async def kill_all(self) -> None:
        """Leave nothing running."""
        for slot in self.slots:
            slot.wanted = False
            if slot.life is not None and slot.life.alive:
                slot.life.hit("kill", signal.SIGKILL)
        await asyncio.gather(*(slot.task for slot in self.slots if slot.task is not None), return_exceptions=True)

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
        log = self._folder / f"{self._name}-{slot.number}-life-{len(self.lives)}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
        began = time.monotonic()
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *slot.command),
                env={**environment, **self._environment, MARK: self._mark},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return Life(slot.number, process, log, began)
