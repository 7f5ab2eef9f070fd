"""The one place where rows, results and offset of a source partition are handed over together, or not at all."""

from collections.abc import Mapping

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from faust.types import TP

from processors.engine.step import Changes

#: aiokafka waits this long before it asks again while the coordinator still ends the transaction before: 20 ms by
#: default, which would be most of a small transaction's time.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.002

TRANSACTION_TIMEOUT_MS = 15_000


class PartitionWriter:
    """The transactional producer of one source partition.

    Its id is made of the source partition alone, so whoever takes the partition over fences whoever had it, and the
    broker aborts what the other left open.
    """

    def __init__(self, bootstrap: str, group: str, source: TP, changelog: str) -> None:
        self._group, self._source, self._changelog = group, source, changelog
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id=f"{group}-{source.topic}-{source.partition}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            linger_ms=0,
            max_batch_size=1 << 20,
            retry_backoff_ms=10,
        )

    async def fence(self) -> None:
        """Shut out every earlier owner; from here on its open transaction is aborted and it can begin no other."""
        await self._producer.start()

    async def hand_over(self, changes: Changes, next_offset: int) -> None:
        """Commit rows, results and the offset to go on from in one transaction.

        Every send is awaited before the offset follows: aiokafka commits even where a send has failed. Any exception
        leaves the outcome unknown, and the caller must not go on.
        """
        producer, source = self._producer, self._source
        await producer.begin_transaction()
        sent = [
            await producer.send(self._changelog, key=key, value=row, partition=source.partition)
            for key, row in changes.rows.items()
        ]
        for result in changes.results:
            sent.append(  # noqa: PERF401 - a comprehension of this length hides that sending waits for room
                await producer.send(
                    result.topic,
                    key=result.key,
                    value=result.value,
                    timestamp_ms=result.timestamp_ms,
                    headers=list(result.headers),  # aiokafka takes no other sequence
                )
            )
        for delivery in sent:
            await delivery
        offsets: Mapping[TopicPartition, int] = {TopicPartition(source.topic, source.partition): next_offset}
        await producer.send_offsets_to_transaction(offsets, self._group)
        await producer.commit_transaction()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._producer.stop()
