"""Records into the batches that Kafka stores. Pure, but for the choice of a partition by metadata that is passed in."""

from collections.abc import Callable, Iterable

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.types import TP

from processors.engine.step import Changes

#: Size at which a further batch is begun; a record of more than that makes a batch of its own.
BATCH_BYTES_MAX = 512 * 1024

Record = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes]]]

_partition_of = DefaultPartitioner()  # murmur2, as Kafka's own clients


def records_by_partition(
    changes: Changes, changelog: TP, now_ms: int, partitions_of: Callable[[str], list[int]]
) -> dict[TP, list[Record]]:
    """Sort rows and results to the partitions they go to, in their order.

    Results go by their key, and those without one where the source partition's number would; `partitions_of` returns
    a topic's partitions in order.
    """
    sorted_out: dict[TP, list[Record]] = {}
    if changes.rows:
        sorted_out[changelog] = [(key, row, now_ms, []) for key, row in changes.rows.items()]
    for result in changes.results:
        partitions = partitions_of(result.topic)
        if result.key is None:
            partition = partitions[changelog.partition % len(partitions)]
        else:
            partition = _partition_of(result.key, partitions, partitions)
        record = (result.key, result.value, result.timestamp_ms, list(result.headers))
        sorted_out.setdefault(TP(result.topic, partition), []).append(record)
    return sorted_out


def transactional_batches(records: Iterable[Record], producer_id: int, epoch: int) -> list[bytes]:
    """Return one partition's batches for one transaction, each to be appended after the one before.

    Sequence numbers begin at 0: in version 2 of the protocol every transaction has an epoch of its own.
    """
    batches: list[bytes] = []
    sequence = offset = 0
    builder = _builder(producer_id, epoch, sequence)
    for key, value, timestamp_ms, headers in records:
        if offset and builder.append(offset, timestamp_ms, key, value, headers) is None:
            batches.append(bytes(builder.build()))
            sequence, offset = sequence + offset, 0
            builder = _builder(producer_id, epoch, sequence)
        if not offset:
            builder.append(offset, timestamp_ms, key, value, headers)
        offset += 1
    if offset:
        batches.append(bytes(builder.build()))
    return batches


def _builder(producer_id: int, epoch: int, sequence: int) -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=1,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=BATCH_BYTES_MAX,
    )
