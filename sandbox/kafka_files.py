"""The files of one Kafka node's data folder: what is in them, and where they lie. Paths in them are relative to it."""

import re
from dataclasses import dataclass
from pathlib import Path

NODE_ID = 1
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

    def write(self, host: str, port: int, controller_port: int, partitions: int) -> None:
        """Write the configuration files. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log4j2.write_text(LOG4J2_TEXT)
        values = server_properties(host, port, controller_port, partitions)
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


def server_properties(host: str, port: int, controller_port: int, partitions: int) -> dict[str, object]:
    """Return the configuration of a single node that is broker and controller in one."""
    return {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        # By address, not by a stored endpoint: the controller's port changes from start to start.
        "controller.quorum.voters": f"{NODE_ID}@{host}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "topics",
        # A misspelt topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        "num.partitions": partitions,
        # One node holds the only copy of everything.
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # Kafka's 50 each cost seconds when the first group or transaction comes.
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.num.partitions": 8,
        # After a kill, the controller refuses a new broker until the old one's session is over: 9 s unless set.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 4000,
        # A group's first member gets its partitions at once.
        "group.initial.rebalance.delay.ms": 0,
    }


def _lines(path: Path, since_bytes: int = 0) -> list[str]:
    """Return the file's lines that are not empty; none if there is no file."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes()[since_bytes:].decode(errors="replace").splitlines() if line.strip()]
