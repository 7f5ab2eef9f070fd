"""The one place where rows, results and offset of a source partition are handed over together, or not at all."""

import time
from collections.abc import Iterable, Mapping

from faust.types import TP

from processors.engine.record_batches import Record, records_by_partition, transactional_batches
from processors.engine.step import Changes
from processors.engine.transaction_client import TransactionClient
from processors.engine.transaction_requests import CommitTransaction, GroupIdentity, InitProducerId, TxnOffsetCommit

#: A transaction that is open for longer is aborted by the broker, and its owner shut out.
TRANSACTION_TIMEOUT_MS = 30_000

ProducerId = tuple[int, int]  # id and epoch


def transactional_id(group: str, source: TP) -> str:
    """Return the id that whoever owns the source partition writes under: taking it shuts out whoever did before."""
    return f"{group}-{source.topic}-{source.partition}"


async def append_all(client: TransactionClient, records: Mapping[TP, Iterable[Record]], producer: ProducerId) -> None:
    """Append each partition's records, batch after batch; returns when all in-sync replicas have them."""
    waiting = {tp: transactional_batches(some, *producer) for tp, some in records.items()}
    while waiting:
        await client.append({tp: batches.pop(0) for tp, batches in waiting.items()})
        waiting = {tp: batches for tp, batches in waiting.items() if batches}


class PartitionWriter:
    """Writes for one source partition, as the only one who can."""

    def __init__(self, bootstrap: str, group: str, source: TP, changelog: str) -> None:
        self._group, self._source, self._changelog = group, source, TP(changelog, source.partition)
        self._client = TransactionClient(bootstrap, transactional_id(group, source))
        self._producer = (-1, -1)  # id and epoch

    async def fence(self) -> None:
        """Shut out every earlier owner; from here on its open transaction is aborted and it can begin no other."""
        await self._client.start()
        await self._client.partitions_of(self._changelog.topic)
        request = InitProducerId(self._client.transactional_id, TRANSACTION_TIMEOUT_MS)
        answer = await self._client.ask_transaction_coordinator(request)
        self._producer = (answer.producer_id, answer.producer_epoch)

    async def hand_over(self, changes: Changes, next_offset: int, identity: GroupIdentity) -> None:
        """Commit rows, results and the offset to go on from in one transaction.

        The offset follows when all records are in, and the commit when the offset is. Any exception leaves the outcome
        unknown, and the caller must not go on.
        """
        client, producer = self._client, self._producer
        partitions = {result.topic: await client.partitions_of(result.topic) for result in changes.results}
        records = records_by_partition(changes, self._changelog, time.time_ns() // 1_000_000, partitions.__getitem__)
        await append_all(client, records, producer)
        offset = TxnOffsetCommit(client.transactional_id, producer, self._group, identity, self._source, next_offset)
        await client.ask_group_coordinator(self._group, offset)
        answer = await client.ask_transaction_coordinator(CommitTransaction(client.transactional_id, producer))
        self._producer = (answer.producer_id, answer.producer_epoch)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()
