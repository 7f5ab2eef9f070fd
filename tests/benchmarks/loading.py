"""Many frames into the raw topics, fast: whole batches, made here, of an idempotent or a transactional producer."""

from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from broker.admin import connected, ensure_topics
from schemas.durations import parse_duration
from schemas.topics import DEFAULT_PARTITIONS, Topics, TopicSpec
from tests.benchmarks.streams import Line

BATCH_BYTES = 256 << 10
LIQUIDATIONS = b"liquidationOrders"

_partition_of = DefaultPartitioner()
_PARTITIONS = list(range(DEFAULT_PARTITIONS))


async def make_topics(bootstrap: str, topics: Topics, windows: Iterable[str] = ("1m",)) -> None:
    """Make the raw topics and the results'.

    The raw topics keep all: what is written here is of long ago, and a broker deletes by records' own times, even while
    it is being measured.
    """
    sizes = [parse_duration(window) for window in windows]
    raw = [TopicSpec(name, DEFAULT_PARTITIONS, (("retention.ms", "-1"),)) for name in topics.raw]
    async with connected(bootstrap) as client:
        await ensure_topics(client, [*topics.raw_specs(), *raw, *topics.result_specs(sizes)])


async def write(producer: AIOKafkaProducer, topics: Topics, lines: Iterable[Line]) -> int:
    """Write frames to where their keys belong, and return how many once all are acknowledged."""
    places: dict[bytes, TopicPartition] = {}
    batches: dict[TopicPartition, object] = {}
    count = 0
    for key, value, at_ms in lines:
        place = places.get(key) or places.setdefault(key, _place(topics, key))
        batch = batches.get(place)
        if batch is None:
            batch = batches[place] = producer.create_batch()
        if batch.append(key=key, value=value, timestamp=at_ms) is None:
            await _send(producer, batches.pop(place), place)
            batch = batches[place] = producer.create_batch()
            batch.append(key=key, value=value, timestamp=at_ms)
        count += 1
    for place, batch in batches.items():
        await _send(producer, batch, place)
    await producer.flush()
    return count


def producer(bootstrap: str, transactional_id: str | None = None) -> AIOKafkaProducer:
    """Return a producer for `write`, not started; what one with a transactional id writes shows when it commits."""
    settings: Mapping = {"transactional_id": transactional_id} if transactional_id else {"enable_idempotence": True}
    return AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=BATCH_BYTES, **settings)


def _place(topics: Topics, key: bytes) -> TopicPartition:
    topic = topics.raw_liquidations if key == LIQUIDATIONS else topics.raw_trades
    return TopicPartition(topic, _partition_of(key, _PARTITIONS, _PARTITIONS))


async def _send(producer: AIOKafkaProducer, batch: object, place: TopicPartition) -> None:
    batch.close()
    await producer.send_batch(batch, place.topic, partition=place.partition)
