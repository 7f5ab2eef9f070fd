"""A look at Kafka: the cluster, the topics, what the raw ones hold, and a consumer group. It writes nothing."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient

from broker.admin import connected, partition_counts
from coinglass_streams.doctor.cluster import ClusterSeen, Node
from coinglass_streams.doctor.group import GroupSeen, Place
from coinglass_streams.doctor.marks import RawSeen
from coinglass_streams.doctor.topics import PartitionSeen, TopicSeen
from processors.engine.transaction_requests import BrokerFeatures
from processors.raw_topics import raw_consumer
from schemas.topics import MARK_KEY, Topics

#: Newest records that are looked at of each raw partition.
RECORDS_PER_PARTITION = 100
NODE_SECONDS_MAX = 2.0
READ_SECONDS_MAX = 5.0


async def look_at_cluster(bootstrap: str) -> ClusterSeen:
    """Return what the cluster says of itself. Raises OperationError where no broker answers."""
    async with connected(bootstrap):  # says what to do where there is none
        pass
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        nodes = tuple(Node(n.nodeId, n.host, n.port) for n in client.cluster.brokers())
        taking = await asyncio.gather(*(_takes_connections(node) for node in nodes))
        unreachable = tuple(node for node, takes in zip(nodes, taking, strict=True) if not takes)
        features: Mapping[str, int] = {}
        if len(unreachable) < len(nodes):
            alive = next(node.node_id for node in nodes if node not in unreachable)
            features = (await client.send(alive, BrokerFeatures())).finalized
    finally:
        await client.close()
    return ClusterSeen(nodes, unreachable, features)


async def _takes_connections(node: Node) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(NODE_SECONDS_MAX):
            _, writer = await asyncio.open_connection(node.host, node.port)
        writer.close()
        return True
    return False


async def look_at_topics(bootstrap: str, names: Iterable[str]) -> Mapping[str, TopicSeen]:
    """Return each topic that stands, with its partitions and settings."""
    async with connected(bootstrap) as admin:
        described = [topic for topic in await admin.describe_topics(list(names)) if topic["error_code"] == 0]
        settings = await _settings(admin, [topic["topic"] for topic in described])
    return {
        topic["topic"]: TopicSeen(
            tuple(PartitionSeen(p["leader"], len(p["replicas"]), len(p["isr"])) for p in topic["partitions"]),
            settings[topic["topic"]],
        )
        for topic in described
    }


async def _settings(admin: AIOKafkaAdminClient, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, Mapping[str, str]] = {name: {} for name in names}
    for answer in await admin.describe_configs(asked):
        for _, _, _, name, entries in answer.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def look_at_raw(bootstrap: str, topics: Topics) -> RawSeen:
    """Return what the newest records of the raw topics tell."""
    seen = RawSeen(looked_at_ms=time.time_ns() // 1_000_000)
    async with connected(bootstrap) as admin:
        counts = await partition_counts(admin, topics.raw)
    places = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    if not places:
        return seen
    async with raw_consumer(bootstrap) as consumer:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, max(begins[place], ends[place] - RECORDS_PER_PARTITION))
        with suppress(TimeoutError):  # what was read until then is told
            async with asyncio.timeout(READ_SECONDS_MAX):
                while behind := [place for place in places if await consumer.position(place) < ends[place]]:
                    _take(seen, await consumer.getmany(*behind, timeout_ms=200))
    return seen


def _take(seen: RawSeen, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
    for record in (record for records in fetched.values() for record in records):
        if record.key == MARK_KEY:
            seen.take_mark(record.value, dict(record.headers))
        elif record.value is not None:
            seen.drift.add(record.value)


async def look_at_group(bootstrap: str, topics: Topics, app_id: str) -> GroupSeen | None:
    """Return how far a worker's group is; None where there is no such group."""
    async with connected(bootstrap) as admin, raw_consumer(bootstrap) as consumer:
        if app_id not in {group for group, _ in await admin.list_consumer_groups()}:
            return None
        members = await _members(admin, app_id)
        committed = await admin.list_consumer_group_offsets(app_id)
        counts = await partition_counts(admin, topics.raw)
        places = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        begins, ends = await _bounds(consumer, places)
    return GroupSeen(
        members,
        tuple(Place(begins[tp], committed[tp].offset if tp in committed else None, ends[tp]) for tp in places),
    )


async def _members(admin: AIOKafkaAdminClient, app_id: str) -> int:
    (answer,) = await admin.describe_consumer_groups([app_id])
    (group,) = answer.groups
    return len(group[5])  # members; how many fields come after them depends on the version


async def _bounds(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
    if not places:
        return {}, {}
    return await consumer.beginning_offsets(places), await consumer.end_offsets(places)
