"""The command's subcommands as the user's processes, for integration tests."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sandbox.ports import free_port


def environment(**more):
    """Return this process's environment, with no settings of its own for the command."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COINGLASS_")}
    return {**clean, **more}


async def eventually(check, seconds_max=60):
    """Return once `await check()` is true; fails if that takes too long."""
    deadline = time.monotonic() + seconds_max
    while not await check():
        assert time.monotonic() < deadline, f"not so within {seconds_max} s: {check}"
        await asyncio.sleep(0.1)


@dataclass
class Worker:
    """A running `coinglass-streams process`."""

    process: Process
    web: str
    log: Path

    async def get(self, path):
        """Return status, headers and body of a GET."""

        def fetch():
            try:
                with urllib.request.urlopen(self.web + path, timeout=10) as response:
                    return response.status, dict(response.headers), response.read()
            except urllib.error.HTTPError as error:
                return error.code, dict(error.headers), error.read()

        return await asyncio.to_thread(fetch)

    async def json(self, path):
        """Return status and decoded body of a GET."""
        status, _, body = await self.get(path)
        return status, msgspec.json.decode(body)

    async def until_ready(self):
        """Return once /ready says so."""
        await self.until("/ready", lambda status, body: status == 200)

    async def until(self, path, fits):
        """Return once the answer to a GET fits: `fits(status, body)`."""

        async def answered():
            assert self.process.returncode is None, f"the worker ended: {self.log.read_text()}"
            try:
                return fits(*await self.json(path))
            except OSError:  # not listening yet
                return False

        await eventually(answered)

    async def stop(self, how=signal.SIGTERM):
        """Send a signal and return the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.ended()

    async def ended(self, seconds_max=30):
        """Wait for the end and return the exit status."""
        return await asyncio.wait_for(self.process.wait(), seconds_max)


@asynccontextmanager
async def worker(broker, tmp_path, prefix, *flags, app_id=None, **env) -> AsyncIterator[Worker]:
    """Run a worker over the topics of a prefix; it is killed at the end if it still runs."""
    port = free_port()
    log = tmp_path / f"worker-{port}.log"  # a file: a pipe that nobody reads would stop the worker
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coinglass_streams", "process", "--broker", broker, "--topic-prefix", prefix,
        "--app-id", app_id or prefix, "--state-dir", str(tmp_path / f"state-{port}"), "--web-port", str(port), *flags,
        stdout=errors, stderr=errors, env=environment(**env),
    )  # fmt: skip
    try:
        yield Worker(process, f"http://127.0.0.1:{port}", log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextmanager
def running_kafka(command: list[str], addresses: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command for Kafka; yields once it says that it is ready, at these addresses."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            seen = []
            for line in process.stderr:
                seen.append(line)
                if "kafka.ready" in line:
                    break
            assert addresses in seen[-1], seen
            yield process
        finally:
            process.kill()
