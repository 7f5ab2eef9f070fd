"""A real Apache Kafka in a folder: one node in KRaft mode, as a child of this process, with nothing installed."""

import asyncio
import fcntl
from asyncio.subprocess import Process
from base64 import urlsafe_b64encode
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self
from uuid import uuid4

from aiokafka.errors import KafkaError

from broker.admin import connected
from sandbox.java import start_java, stop_java
from sandbox.kafka_files import LOG4J2, PROPERTIES, KafkaFolder
from sandbox.maven import resolve_jars
from sandbox.ports import check_port_free, free_port
from schemas.errors import OperationError, UsageError

#: Kafka, and what takes its log to a file: that part is in Kafka's own distribution, not among its dependencies.
ARTIFACTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")

#: For a start in 2 s and 340 MB. TieredStopAtLevel=1 stops the compiler at its first tier: right for minutes, wrong for
#: a benchmark of the broker itself; give such a one its own `java_flags`.
JAVA_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m")

#: Java 25 warns of what Kafka's libraries do; and one that has run out of memory answers nobody.
QUIET_FLAGS = (
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-XX:+ExitOnOutOfMemoryError",
)

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class KafkaSettings:
    """Where an embedded Kafka listens and what it keeps. Raises UsageError for a port that is none."""

    port: int = 9092
    data_dir: Path = Path("data/kafka")
    host: str = "127.0.0.1"  # also the advertised address: clients of other machines are not meant
    partitions: int = 4  # of a topic that is made without saying how many
    java_flags: tuple[str, ...] = JAVA_FLAGS

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not 0 < self.port < 65_536:
            raise UsageError(f"port {self.port} is not between 1 and 65535")
        if self.partitions < 1:
            raise UsageError(f"{self.partitions} partitions are too few: 1 or more")

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{self.host}:{self.port}"


class EmbeddedKafka:
    """One Kafka node that keeps its data, its configuration and its log in a folder.

    >>> async with EmbeddedKafka(KafkaSettings(port=9092)) as kafka:  # doctest: +SKIP
    ...     use(kafka.bootstrap)

    Start and stop it from a thread that outlives it, the main one usually (see `start_java`).
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._folder = KafkaFolder(settings.data_dir.absolute())
        self._held = ExitStack()
        self._process: Process | None = None
        self._log_began_bytes = 0

    @property
    def bootstrap(self) -> str:
        """The address for clients: `host:port`."""
        return self.settings.bootstrap

    @property
    def pid(self) -> int | None:
        """The Java process, while there is one."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Return once the broker has answered a client.

        Raises OperationError where the port or the folder is in use, the folder cannot be written, Kafka cannot be
        downloaded, or it dies or says nothing within START_SECONDS_MAX. Nothing is left running then.
        """
        assert self._process is None, "already started"
        check_port_free(self.settings.host, self.settings.port)
        try:
            self._prepare_folder()
            jars = await resolve_jars(*ARTIFACTS)
            if not self._folder.is_formatted:
                await self._run(jars, "kafka.tools.StorageTool", "format", "-c", PROPERTIES, "-t", _new_cluster_id())
                if await self._running.wait():
                    raise self._failed()
            await self._run(jars, "kafka.Kafka", PROPERTIES)
            await self._answering()
        except BaseException:
            await self.stop()
            raise

    async def run_until_death(self) -> NoReturn:
        """Wait for as long as Kafka runs; raises OperationError when it dies by itself."""
        await self._running.wait()
        raise self._failed()

    async def stop(self) -> None:
        """Stop Kafka cleanly, within STOP_SECONDS_MAX; where none runs, do nothing."""
        process, self._process = self._process, None
        try:
            if process:
                await stop_java(process, STOP_SECONDS_MAX)
        finally:
            self._held.close()

    @property
    def _running(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def _prepare_folder(self) -> None:
        """Hold the folder for this process alone, and write the configuration into it."""
        settings, folder = self.settings, self._folder
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            lock = self._held.enter_context(folder.lock.open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            controller_port = free_port(settings.host, other_than=settings.port)
            folder.write(settings.host, settings.port, controller_port, settings.partitions)
            self._log_began_bytes = folder.log_bytes()
        except BlockingIOError as error:
            raise OperationError(
                f"the data folder {settings.data_dir} is in use by another running Kafka: "
                "stop that one, or choose another folder with --data-dir"
            ) from error
        except OSError as error:
            raise OperationError(
                f"the data folder {settings.data_dir} cannot be written ({error.strerror}): "
                "choose another with --data-dir"
            ) from error

    async def _run(self, jars: list[Path], *program: str) -> None:
        flags = [*self.settings.java_flags, *QUIET_FLAGS, f"-Dlog4j2.configurationFile={LOG4J2}"]
        self._process = await start_java(
            [*flags, "-cp", ":".join(map(str, jars)), *program], folder=self._folder.path, output=self._folder.output
        )

    async def _answering(self) -> None:
        """Wait for the broker's answer or its death, whichever comes first."""
        answer = asyncio.create_task(_until_answered(self.bootstrap))
        death = asyncio.create_task(self._running.wait())
        try:
            await asyncio.wait({answer, death}, timeout=START_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise self._failed()
            if not answer.done():
                raise OperationError(
                    f"Kafka did not answer within {START_SECONDS_MAX:.0f} s: see {self._folder.log}, or try again "
                    "when the machine is less busy"
                )
            await answer
        finally:
            for task in (answer, death):
                task.cancel()
            await asyncio.wait({answer, death})

    def _failed(self) -> OperationError:
        status, why = self._running.returncode, self._folder.last_error(self._log_began_bytes)
        return OperationError(f"Kafka died with status {status}: {why} (see {self._folder.log})")


async def _until_answered(bootstrap: str) -> None:
    """Return once the broker lists itself: from then on, topics can be made."""
    while True:
        with suppress(OperationError, KafkaError):
            async with connected(bootstrap) as client:
                if (await client.describe_cluster())["brokers"]:
                    return
        await asyncio.sleep(0.05)


def _new_cluster_id() -> str:
    """Return a random id in Kafka's own form: a UUID in 22 characters. A leading dash would be taken for a flag."""
    return "c" + urlsafe_b64encode(uuid4().bytes).decode()[1:22]
