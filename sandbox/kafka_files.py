"""The files of Kafka's data folders: what is in them, and where they lie. Paths in a node's are relative to it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROPERTIES = "server.properties"
LOG4J2 = "log4j2.xml"

#: Kafka's own log: to a file, never to the terminal, and bounded: five files of 10 MB.
LOG4J2_TEXT = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Kafka logs until its very end: log4j must not be gone before it. -->
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="logs/kafka.log" filePattern="logs/kafka.log.%i">
      <PatternLayout pattern="%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}{UTC} %p %m (%c{1})%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="4"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""

_ERROR = re.compile(r"^\S+ (ERROR|FATAL) ")
_EXCEPTION = re.compile(r"^(Caused by: )?[\w.$]+(Exception|Error)\b")


@dataclass(frozen=True)
class KafkaFolder:
    """The layout of a data folder."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held while a Kafka of ours runs here."""
        return self.path / ".lock"

    @property
    def properties(self) -> Path:
        """Kafka's configuration, written anew at each start."""
        return self.path / PROPERTIES

    @property
    def log4j2(self) -> Path:
        """The configuration of Kafka's log."""
        return self.path / LOG4J2

    @property
    def log(self) -> Path:
        """Kafka's log."""
        return self.path / "logs" / "kafka.log"

    @property
    def output(self) -> Path:
        """What the Java machine itself printed at the last start."""
        return self.path / "logs" / "java.out"

    @property
    def is_formatted(self) -> bool:
        """Whether Kafka's storage was made here; it writes this file last."""
        return (self.path / "topics" / "meta.properties").exists()

    def write(self, values: Mapping[str, object]) -> None:
        """Write the configuration files, with these properties of Kafka's. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log4j2.write_text(LOG4J2_TEXT)
        lines = ["# Written by coinglass-streams at each start: changes here are lost."]
        self.properties.write_text("\n".join([*lines, *(f"{key}={value}" for key, value in values.items()), ""]))

    def log_bytes(self) -> int:
        """Return how long Kafka's log is by now."""
        return self.log.stat().st_size if self.log.exists() else 0

    def last_error(self, since_bytes: int) -> str:
        """Return what went wrong since Kafka's log was `since_bytes` long: the logs' last error and its cause."""
        logged = _lines(self.log, since_bytes if since_bytes <= self.log_bytes() else 0)  # else it has rolled over
        errors = [number for number, line in enumerate(logged) if _ERROR.match(line)]
        if not errors:
            printed = _lines(self.output)
            first = next((number for number, line in enumerate(printed) if "rror" in line), 0)
            said = [line for line in printed[first : first + 2] if not line.startswith("\tat ")]
            return ": ".join(said) or "it logged nothing"
        error, *trace = logged[errors[-1] :]
        causes = [line for line in trace if _EXCEPTION.match(line)]
        return ": ".join([_ERROR.sub("", error), *causes[-1:]])


@dataclass(frozen=True)
class QuorumState:
    """What a node's folder says of who leads the controllers."""

    folder: Path

    def read(self) -> tuple[int, int]:
        """Return the epoch and its leader's id; zeros where this node knows of none. Raises OSError."""
        path = self.folder / "topics" / "__cluster_metadata-0" / "quorum-state"
        if not path.exists():
            return 0, 0
        values = json.loads(path.read_text())
        return int(values["leaderEpoch"]), max(0, int(values["leaderId"]))


@dataclass(frozen=True)
class ClusterFile:
    """What a folder of several nodes says of them; written before their own, so that half a cluster is known as one."""

    folder: Path

    def read(self) -> tuple[int, str] | None:
        """Return the number of nodes and the cluster's id; None where there is none. Raises OSError."""
        if not self._path.exists():
            return None
        values = json.loads(self._path.read_text())
        return int(values["nodes"]), str(values["cluster_id"])

    def write(self, nodes: int, cluster_id: str) -> None:
        """Write it whole or not at all. Raises OSError."""
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({"nodes": nodes, "cluster_id": cluster_id}) + "\n")
        draft.replace(self._path)

    @property
    def _path(self) -> Path:
        return self.folder / "cluster.json"


@dataclass(frozen=True)
class NodePlan:
    """A node of a cluster, broker and controller in one, and where it finds the other nodes."""

    node_id: int  # they count from 1
    controller_ports: tuple[int, ...]  # of all nodes, the first one's first
    host: str
    port: int
    advertised_port: int
    inside_port: int | None  # where brokers talk among themselves; None: where clients do
    partitions: int

    def server_properties(self) -> dict[str, object]:
        """Return Kafka's configuration."""
        nodes = len(self.controller_ports)
        return {**self._listeners(), **_COMMON, **_copies(min(nodes, 3)), "num.partitions": self.partitions}

    def _listeners(self) -> dict[str, object]:
        host = self.host
        voters = enumerate(self.controller_ports, start=1)
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_ports[self.node_id - 1]}
        advertised = {"PLAINTEXT": self.advertised_port}
        if self.inside_port is not None:
            listeners["INSIDE"] = advertised["INSIDE"] = self.inside_port
        return {
            "node.id": self.node_id,
            # By address, not by a stored endpoint: the controllers' ports change from start to start.
            "controller.quorum.voters": ",".join(f"{node}@{host}:{port}" for node, port in voters),
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://{host}:{port}" for name, port in listeners.items()),
            "advertised.listeners": ",".join(f"{name}://{host}:{port}" for name, port in advertised.items()),
            "inter.broker.listener.name": "PLAINTEXT" if self.inside_port is None else "INSIDE",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        }


_COMMON = {
    "process.roles": "broker,controller",
    "log.dirs": "topics",
    # A misspelt topic is an error, not a new topic.
    "auto.create.topics.enable": "false",
    # Kafka's 50 each cost seconds when the first group or transaction comes.
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.num.partitions": 8,
    # After a kill, the controller refuses a new broker until the old one's session is over: 9 s unless set. So long,
    # too, a dead broker's partitions wait for another leader.
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 4000,
    # A dead controller is missed after this long (2 s unless set), and replaced so soon after. A follower's own fetch
    # takes up to 500 ms, so much less would elect for no reason on a busy machine.
    "controller.quorum.fetch.timeout.ms": 1500,
    "controller.quorum.election.timeout.ms": 500,
    "controller.quorum.election.backoff.max.ms": 300,
    # What was acknowledged is worth more than a partition that answers.
    "unclean.leader.election.enable": "false",
    # A group's first member gets its partitions at once.
    "group.initial.rebalance.delay.ms": 0,
}


def _copies(of_everything: int) -> dict[str, object]:
    """Return how many copies there are, and how many must have what is acknowledged: all but one, if there are more."""
    needed = max(1, of_everything - 1)
    return {
        "default.replication.factor": of_everything,
        "min.insync.replicas": needed,  # of the consumers' offsets, too
        "offsets.topic.replication.factor": of_everything,
        "transaction.state.log.replication.factor": of_everything,
        "transaction.state.log.min.isr": needed,
        "share.coordinator.state.topic.replication.factor": of_everything,
        "share.coordinator.state.topic.min.isr": needed,
    }


def _lines(path: Path, since_bytes: int = 0) -> list[str]:
    """Return the file's lines that are not empty; none if there is no file."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes()[since_bytes:].decode(errors="replace").splitlines() if line.strip()]
