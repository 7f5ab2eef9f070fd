"""Which raw partition a result comes from: those of one have an order, those of several have none among them."""

from typing import NamedTuple, Protocol

from aiokafka.structs import TopicPartition

from schemas import topics as names
from schemas.codec import decode
from schemas.topics import Topics
from tests.fault.frames import partition_of
from tests.fault.settings import PARTITIONS, WINDOWS

Source = tuple[str, int]  # raw topic and partition


class Stream(NamedTuple):
    """Records of one output partition that come from one source partition: these must be in order."""

    topic: str
    partition: int
    source: Source


class Published(Protocol):
    """What is looked at of a record of an output topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def result_partitions(topics: Topics) -> list[TopicPartition]:
    """Return all partitions that workers publish to."""
    volumes = [topics.liquidation_volume(name) for name, _ in WINDOWS]
    imbalances = [topics.trade_imbalance(name) for name, _ in WINDOWS]
    spread = [*volumes, *imbalances, topics.late, topics.dead_letters]
    return [
        *(TopicPartition(topic, number) for topic in spread for number in range(PARTITIONS)),
        TopicPartition(topics.feed_gaps, 0),
    ]


def source_of(record: Published, topics: Topics) -> Source:
    """Return the raw partition that a result comes from."""
    if record.topic == topics.dead_letters:
        headers = dict(record.headers)
        return headers[names.HEADER_SOURCE_TOPIC].decode(), int(headers[names.HEADER_SOURCE_PARTITION])
    if record.topic == topics.feed_gaps:
        return topics.raw_liquidations, 0
    assert record.key is not None
    if record.topic == topics.late:
        assert record.value is not None
        late = decode("late_record", record.value)
        return str(late["topic"]), int(late["partition"])
    if record.topic.startswith(topics.liquidation_volume("")):
        return topics.raw_liquidations, int(record.key.decode()[-1])  # as frames.asset_of made it
    return topics.raw_trades, partition_of(record.key)
