"""The raw topics, read without Faust: by replays and exports."""

from aiokafka import AIOKafkaConsumer

from broker.admin import connected, partition_counts
from schemas.errors import OperationError
from schemas.topics import Topics

#: A broker that has not answered for so long is lost.
SILENT_SECONDS_MAX = 30.0
FETCH_BYTES_MAX = 4 << 20  # of one partition


def raw_consumer(bootstrap: str) -> AIOKafkaConsumer:
    """Return a consumer for raw topics, of no group; to be started."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",  # raw topics may be written in transactions too
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=100,
    )


async def raw_partitions(bootstrap: str, topics: Topics) -> dict[str, int]:
    """Return how many partitions each raw topic has that there is. Raises OperationError where there is none."""
    async with connected(bootstrap) as client:
        counts = dict(await partition_counts(client, topics.raw))
    if not counts:
        raise OperationError(
            f"there is neither {' nor '.join(topics.raw)} on {bootstrap}: "
            "name the --topic-prefix that was recorded under"
        )
    return counts
