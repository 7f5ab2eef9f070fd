"""Records as they were unpacked: wrapping each in aiokafka's ConsumerRecord took as long as unpacking it."""

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition

from processors.engine.step import SourceRecord


class LightPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Hands over records as they were unpacked: offset, timestamp, key, value and headers, and no more."""

    def _consumer_record(self, tp: TopicPartition, record: SourceRecord) -> SourceRecord:
        del tp
        return record


class _LightResults(dict[TopicPartition, Any]):
    """What a fetcher has fetched and not yet handed over; each result becomes light as it is put in."""

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if isinstance(result, fetcher.FetchResult):
            result._partition_records.__class__ = LightPartitionRecords
        super().__setitem__(tp, result)


def hand_over_light_records(consumer: AIOKafkaConsumer) -> None:
    """Have this one consumer, which has been started, hand over light records; others stay as they are."""
    consumer._fetcher._records = _LightResults(consumer._fetcher._records)
