"""Subcommands of our own as child processes: their logs in files, and none of them left when we are gone."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from sandbox import launcher
from schemas.errors import OperationError

_PREFIX = "COINGLASS_"
_TAIL_BYTES = 1 << 16


class Child:
    """One subcommand, such as `produce`, with its flags.

    It does not see the terminal's Ctrl-C: it is stopped in its turn. On Linux it is killed when the thread that
    started it ends; start it from the main one.
    """

    def __init__(self, name: str, flags: Sequence[str], log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._flags = tuple(flags)
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it; its log goes to the end of the log file."""
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())),
                *(sys.executable, "-m", "coinglass_streams", self.name, *self._flags),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env=without_our_settings(os.environ),
                start_new_session=True,
            )

    async def run_until_death(self) -> NoReturn:
        """Wait for as long as it runs; raises OperationError with its last words when it ends by itself."""
        assert self._process, "not started"
        status = await self._process.wait()
        why = last_line(self.log_file) or "it said nothing"
        raise OperationError(f"{self.name} ended with status {status}: {why} (see {self.log_file})")

    async def stop(self, seconds_max: float) -> None:
        """Ask it to drain and end, and kill it after `seconds_max`; returns when it is gone."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(seconds_max):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def without_our_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would set a child's flags, and without the API key: the demo needs none."""
    return {name: value for name, value in environment.items() if not name.startswith(_PREFIX)}


def last_line(log_file: Path) -> str:
    """Return the last line of a log that is not blank, "" if there is none."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
