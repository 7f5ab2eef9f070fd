"""Several Kafka nodes as one cluster, in a folder: one may die at any time."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from sandbox.data_folder import check_made_with, explained, held, new_cluster_id
from sandbox.kafka import JAVA_FLAGS, START_SECONDS_MAX, EmbeddedKafka, KafkaSettings, Seat, until_listed
from sandbox.kafka_files import ClusterFile, QuorumState
from sandbox.ports import check_port_free, free_port
from sandbox.started import Started
from schemas.errors import OperationError, UsageError

CLUSTER_JAVA_FLAGS = (*JAVA_FLAGS[:-1], "-Xmx384m")

log = structlog.get_logger()


@dataclass(frozen=True)
class ClusterSettings:
    """Where the nodes of a cluster listen (one port each, side by side) and what they keep.

    Raises UsageError for a port that is none, and for a number of nodes that survives no death.
    """

    port: int = 9092  # the first node's
    data_dir: Path = Path("data/kafka")
    nodes: int = 3
    host: str = "127.0.0.1"
    partitions: int = 4
    java_flags: tuple[str, ...] = CLUSTER_JAVA_FLAGS
    advertised_ports: tuple[int, ...] = ()  # one a node, as KafkaSettings has it; none: those they listen on

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.nodes < 3 or self.nodes % 2 == 0:
            raise UsageError(f"{self.nodes} nodes: 3 or another odd number, so that a majority is left when one dies")
        if len(self.advertised_ports) not in (0, self.nodes):
            raise UsageError(f"{len(self.advertised_ports)} advertised ports for {self.nodes} nodes: one each, or none")
        self.of_nodes()

    def of_nodes(self) -> tuple[KafkaSettings, ...]:
        """Return each node's own settings."""
        return tuple(
            KafkaSettings(
                port=self.port + index,
                data_dir=self.data_dir / f"node-{index + 1}",
                host=self.host,
                partitions=self.partitions,
                java_flags=self.java_flags,
                advertised_port=self.advertised_ports[index] if self.advertised_ports else None,
            )
            for index in range(self.nodes)
        )


class EmbeddedCluster(Started):
    """Several Kafka nodes as one cluster, each in a folder of its own; every topic has three copies.

    >>> async with EmbeddedCluster(ClusterSettings(port=9092)) as cluster:  # doctest: +SKIP
    ...     await cluster.kill(2)
    ...     use(cluster.bootstrap)

    Nodes are named by their ids, from 1. It starts no dead node again by itself.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self._held = ExitStack()
        self._nodes: dict[int, EmbeddedKafka] = {}

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes for clients, with commas between."""
        return ",".join(node.bootstrap for node in self.settings.of_nodes())

    @property
    def pids(self) -> dict[int, int]:
        """The Java processes by node; a dead node has none."""
        return {node_id: node.pid for node_id, node in self._nodes.items() if node.is_alive and node.pid}

    def node(self, node_id: int) -> EmbeddedKafka:
        """Return one node."""
        return self._nodes[node_id]

    def controller(self) -> int:
        """Return the node that leads the controllers, by what the nodes have written down; 0 where none has yet."""
        votes = (QuorumState(node.settings.data_dir).read() for node in self._nodes.values())
        return max(votes, default=(0, 0))[1]

    async def start(self) -> None:
        """Return once every node knows every other; raises OperationError as a single one does, and leaves nothing."""
        assert not self._nodes, "already started"
        of_nodes = self.settings.of_nodes()
        for node_id, settings in enumerate(of_nodes, start=1):
            try:
                check_port_free(settings.host, settings.port)
            except OperationError as error:
                raise OperationError(f"node {node_id} of {len(of_nodes)}: {error}") from error
        try:
            seats = self._prepare_folder()
            self._nodes = {
                seat.node_id: EmbeddedKafka(settings, seat) for seat, settings in zip(seats, of_nodes, strict=True)
            }
            await self._start_nodes()
        except BaseException:
            await self.stop()
            raise

    async def run_while_quorate(self) -> NoReturn:
        """Log each death of a node; raises OperationError when too few are left to go on."""
        watched = {asyncio.create_task(node.run_until_death()): node_id for node_id, node in self._nodes.items()}
        pending = set(watched)
        try:
            while True:
                died, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in died:
                    why = str(task.exception())
                    if len(pending) * 2 <= len(watched):
                        raise OperationError(
                            f"{len(pending)} of {len(watched)} Kafka nodes are left, too few to go on: start them all "
                            f"again; node {watched[task]}: {why}"
                        )
                    log.warning("kafka.node_died", node=watched[task], left=len(pending), error=why)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.wait(watched)

    async def stop(self) -> None:
        """Stop all nodes; where none run, do nothing.

        All at once: a node takes its leave of the controllers, and they of each other. Without a majority none can,
        and would wait for it for minutes: they are killed. Nothing that was acknowledged is lost by that.
        """
        nodes, self._nodes = list(self._nodes.values()), {}
        can_take_leave = 2 * sum(node.is_alive for node in nodes) > len(nodes)
        try:
            await asyncio.gather(*(node.stop() if can_take_leave else node.kill() for node in nodes))
        finally:
            self._held.close()

    async def kill(self, node_id: int) -> None:
        """Kill a node as a power cut does, and return when it is gone."""
        await self._nodes[node_id].kill()

    def freeze(self, node_id: int) -> None:
        """Stop a node's clock."""
        self._nodes[node_id].freeze()

    def thaw(self, node_id: int) -> None:
        """Let a frozen node go on."""
        self._nodes[node_id].thaw()

    async def restart(self, node_id: int) -> None:
        """Stop a node, if it runs, and start it again; returns once it knows itself to be one of the cluster's."""
        await self._nodes[node_id].stop()
        await self._nodes[node_id].start()

    def _prepare_folder(self) -> list[Seat]:
        """Hold the folder, and return the nodes' places; the cluster's id is the folder's."""
        settings, host = self.settings, self.settings.host
        self._held.enter_context(held(settings.data_dir))
        check_made_with(settings.nodes, settings.data_dir)
        file = ClusterFile(settings.data_dir)
        with explained(settings.data_dir):
            if file.read() is None:
                file.write(settings.nodes, new_cluster_id())
            _, cluster_id = file.read() or (0, "")
        of_nodes = settings.of_nodes()
        taken = {port for node in of_nodes for port in (node.port, node.told_port)}
        first = free_port(host, taken, in_a_row=settings.nodes)
        ports = tuple(range(first, first + settings.nodes))
        return [Seat(node_id, cluster_id, ports) for node_id in range(1, settings.nodes + 1)]

    async def _start_nodes(self) -> None:
        """Start all at once: one alone would wait for a majority."""
        try:
            async with asyncio.TaskGroup() as group:
                for node in self._nodes.values():
                    group.create_task(node.start())
            async with asyncio.timeout(START_SECONDS_MAX), asyncio.TaskGroup() as group:
                for node in self._nodes.values():
                    group.create_task(until_listed(node.direct, self._nodes))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        except TimeoutError as error:
            raise OperationError(
                f"the Kafka nodes did not find each other within {START_SECONDS_MAX:.0f} s: see the logs in "
                f"{self.settings.data_dir}, or try again when the machine is less busy"
            ) from error
