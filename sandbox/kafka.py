"""A real Apache Kafka in a folder: a node in KRaft mode, as a child of this process, with nothing installed."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
from aiokafka.errors import KafkaError

from broker.admin import connected
from sandbox.data_folder import check_made_with, explained, held, new_cluster_id
from sandbox.java import kill_java, signal_java, start_java, stop_java
from sandbox.kafka_files import LOG4J2, PROPERTIES, KafkaFolder, NodePlan
from sandbox.maven import resolve_jars
from sandbox.ports import check_port_free, free_port
from sandbox.started import Started
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

log = structlog.get_logger()


@dataclass(frozen=True)
class KafkaSettings:
    """Where an embedded Kafka listens and what it keeps. Raises UsageError for a port that is none."""

    port: int = 9092
    data_dir: Path = Path("data/kafka")
    host: str = "127.0.0.1"  # also the advertised address: clients of other machines are not meant
    partitions: int = 4  # of a topic that is made without saying how many
    java_flags: tuple[str, ...] = JAVA_FLAGS
    advertised_port: int | None = None  # what clients are told instead of `port`: where a proxy of yours listens

    def __post_init__(self) -> None:
        """Check the bounds."""
        for port in (self.port, self.told_port):
            if not 0 < port < 65_536:
                raise UsageError(f"port {port} is not between 1 and 65535")
        if self.partitions < 1:
            raise UsageError(f"{self.partitions} partitions are too few: 1 or more")

    @property
    def told_port(self) -> int:
        """The port that clients are told."""
        return self.port if self.advertised_port is None else self.advertised_port

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{self.host}:{self.told_port}"


@dataclass(frozen=True)
class Seat:
    """One node's place in its cluster."""

    node_id: int
    cluster_id: str
    controller_ports: tuple[int, ...]


class EmbeddedKafka(Started):
    """One Kafka node that keeps its data, its configuration and its log in a folder.

    >>> async with EmbeddedKafka(KafkaSettings(port=9092)) as kafka:  # doctest: +SKIP
    ...     use(kafka.bootstrap)

    Start and stop it from a thread that outlives it, the main one usually (see `start_java`). Without a seat it is a
    cluster of its own.
    """

    def __init__(self, settings: KafkaSettings, seat: Seat | None = None) -> None:
        self.settings = settings
        self._seat = seat
        self._folder = KafkaFolder(settings.data_dir.absolute())
        self._held = ExitStack()
        self._process: Process | None = None
        self._log_began_bytes = 0
        self._inside_port: int | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients: `host:port`."""
        return self.settings.bootstrap

    @property
    def direct(self) -> str:
        """An address that leads past whatever stands at the advertised port; another after each start."""
        return f"{self.settings.host}:{self._inside_port or self.settings.port}"

    @property
    def pid(self) -> int | None:
        """The Java process, while there is one."""
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether the Java process runs, be it frozen."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Return once the broker has answered a client.

        Raises OperationError where the port or the folder is in use, the folder cannot be written, Kafka cannot be
        downloaded, or it dies or says nothing within START_SECONDS_MAX. Nothing is left running then.
        """
        assert self._process is None, "already started"
        check_port_free(self.settings.host, self.settings.port)
        try:
            seat = self._prepare_folder()
            jars = await resolve_jars(*ARTIFACTS)
            if not self._folder.is_formatted:
                await self._run(jars, "kafka.tools.StorageTool", "format", "-c", PROPERTIES, "-t", seat.cluster_id)
                if await self._running.wait():
                    raise self._failed(self._running)
            await self._run(jars, "kafka.Kafka", PROPERTIES)
            await self._answering(seat.node_id)
        except BaseException:
            await self.stop()
            raise

    async def run_until_death(self) -> NoReturn:
        """Wait for as long as Kafka runs; raises OperationError when it dies by itself."""
        process = self._running
        await process.wait()
        raise self._failed(process)

    async def stop(self) -> None:
        """Stop Kafka cleanly, within STOP_SECONDS_MAX; where none runs, do nothing."""
        self.thaw()
        process, self._process = self._process, None
        try:
            if process:
                await stop_java(process, STOP_SECONDS_MAX)
        finally:
            self._held.close()

    async def kill(self) -> None:
        """Kill it as a power cut does, and return when it is gone; where none runs, do nothing."""
        process, self._process = self._process, None
        try:
            if process:
                await kill_java(process)
        finally:
            self._held.close()

    def freeze(self) -> None:
        """Stop its clock: it keeps its connections, and answers nobody."""
        signal_java(self._running, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was frozen; where none runs, do nothing."""
        if self._process:
            signal_java(self._process, signal.SIGCONT)

    @property
    def _running(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def _prepare_folder(self) -> Seat:
        """Hold the folder for this process alone, and write the configuration into it; return the node's place."""
        settings, folder = self.settings, self._folder
        self._held.enter_context(held(settings.data_dir))
        if self._seat is None:
            check_made_with(1, settings.data_dir)
        ports = [settings.port, settings.told_port]
        if settings.told_port != settings.port:
            self._inside_port = free_port(settings.host, ports)
            ports.append(self._inside_port)
        seat = self._seat or Seat(1, new_cluster_id(), (free_port(settings.host, ports),))
        plan = NodePlan(
            node_id=seat.node_id,
            controller_ports=seat.controller_ports,
            host=settings.host,
            port=settings.port,
            advertised_port=settings.told_port,
            inside_port=self._inside_port,
            partitions=settings.partitions,
        )
        with explained(settings.data_dir):
            folder.write(plan.server_properties())
            self._log_began_bytes = folder.log_bytes()
        return seat

    async def _run(self, jars: list[Path], *program: str) -> None:
        flags = [*self.settings.java_flags, *QUIET_FLAGS, f"-Dlog4j2.configurationFile={LOG4J2}"]
        self._process = await start_java(
            [*flags, "-cp", ":".join(map(str, jars)), *program], folder=self._folder.path, output=self._folder.output
        )

    async def _answering(self, node_id: int) -> None:
        """Wait for the broker's answer or its death, whichever comes first."""
        answer = asyncio.create_task(until_listed(self.direct, {node_id}))
        death = asyncio.create_task(self._running.wait())
        try:
            await asyncio.wait({answer, death}, timeout=START_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise self._failed(self._running)
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

    def _failed(self, process: Process) -> OperationError:
        status, why = process.returncode, self._folder.last_error(self._log_began_bytes)
        return OperationError(f"Kafka died with status {status}: {why} (see {self._folder.log})")


async def until_listed(bootstrap: str, nodes: Collection[int]) -> None:
    """Return once a broker lists these nodes: from then on, topics can be made."""
    while True:
        with suppress(OperationError, KafkaError):
            async with connected(bootstrap) as client:
                if {broker["node_id"] for broker in (await client.describe_cluster())["brokers"]} >= set(nodes):
                    return
        await asyncio.sleep(0.05)
