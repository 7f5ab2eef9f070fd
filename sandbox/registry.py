"""A real schema registry for tests: Apicurio, which speaks Confluent's protocol, with its schemas in memory."""

import asyncio
import shutil
import tarfile
import tempfile
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

import httpx
from schema_registry.client import AsyncSchemaRegistryClient
from schema_registry.client.errors import ClientError

from sandbox.java import start_java, stop_java
from sandbox.maven import resolve_file
from sandbox.ports import check_port_free
from sandbox.started import Started
from schemas.errors import OperationError

ARTIFACT = "io.apicurio:apicurio-registry-app:3.0.9"
PROGRAM = "apicurio-registry-app-3.0.9-runner.jar"

JAVA_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m")

START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class RegistrySettings:
    """Where the registry listens, and a folder that exists, for what it prints."""

    port: int
    folder: Path
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The address of Confluent's API."""
        return f"http://{self.host}:{self.port}/apis/ccompat/v7"


class SchemaRegistry(Started):
    """One schema registry, empty at its start; to be stopped from the thread that started it."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.settings = settings
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.settings.url

    async def start(self) -> None:
        """Return once the registry has answered a client; raises OperationError where it cannot be had or does not."""
        assert self._process is None, "already started"
        settings = self.settings
        check_port_free(settings.host, settings.port)
        program = _unpacked(await resolve_file(ARTIFACT, "all", "tar.gz")) / PROGRAM
        http = [f"-Dquarkus.http.host={settings.host}", f"-Dquarkus.http.port={settings.port}"]
        output = settings.folder / "registry.out"
        try:
            self._process = await start_java(
                [*JAVA_FLAGS, *http, "-jar", str(program)], folder=settings.folder, output=output
            )
            async with asyncio.timeout(START_SECONDS_MAX):
                await _until_answered(self.url, self._process)
        except TimeoutError as error:
            await self.stop()
            raise OperationError(f"the registry said nothing for {START_SECONDS_MAX:.0f} s: see {output}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop it; where none runs, do nothing."""
        process, self._process = self._process, None
        if process:
            await stop_java(process, STOP_SECONDS_MAX)


async def _until_answered(url: str, process: Process) -> None:
    """Return once the registry lists its subjects; raises OperationError if it dies before."""
    while process.returncode is None:
        client = AsyncSchemaRegistryClient(url)
        try:
            await client.get_subjects()
        except (httpx.HTTPError, ClientError, ValueError):  # not yet: no listener, or an answer that is not Confluent's
            await asyncio.sleep(0.1)
        else:
            return
    raise OperationError(f"the registry died with status {process.returncode}: see its registry.out")


def _unpacked(archive: Path) -> Path:
    """Return the folder with the archive's files, beside it; unpacked by whoever comes first, then shared."""
    folder = archive.with_name(archive.name.removesuffix(".tar.gz"))
    if folder.exists():
        return folder
    growing = Path(tempfile.mkdtemp(dir=archive.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(growing, filter="data")
        growing.rename(folder)
    except (OSError, tarfile.TarError):
        shutil.rmtree(growing)
        if not folder.exists():  # else another process was quicker
            raise
    return folder
