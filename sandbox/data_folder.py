"""The folder that an embedded Kafka keeps: held by one process, made with one number of nodes, errors with remedies."""

import fcntl
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from sandbox.kafka_files import ClusterFile, KafkaFolder
from schemas.errors import OperationError


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Make the folder, and hold it for this process alone."""
    folder = KafkaFolder(data_dir.absolute())
    with ExitStack() as held:
        with explained(data_dir):
            folder.path.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(folder.lock.open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn the system's errors into lines that name the remedy."""
    try:
        yield
    except BlockingIOError as error:
        raise OperationError(
            f"the data folder {data_dir} is in use by another running Kafka: "
            "stop that one, or choose another folder with --data-dir"
        ) from error
    except OSError as error:
        raise OperationError(
            f"the data folder {data_dir} cannot be written ({error.strerror}): choose another with --data-dir"
        ) from error


def check_made_with(nodes: int, data_dir: Path) -> None:
    """Raise OperationError where the folder holds a cluster of another number of nodes."""
    with explained(data_dir):
        told = ClusterFile(data_dir).read()
    made_with = told[0] if told else 1 if KafkaFolder(data_dir).is_formatted else nodes
    if made_with != nodes:
        raise OperationError(
            f"the data folder {data_dir} was made with --nodes {made_with}, not {nodes}: "
            f"open it with --nodes {made_with}, or choose another folder with --data-dir"
        )


def new_cluster_id() -> str:
    """Return a random id in Kafka's own form: a UUID in 22 characters. A leading dash would be taken for a flag."""
    return "c" + urlsafe_b64encode(uuid4().bytes).decode()[1:22]
