"""State from changelogs: read to the true end of the log, committed records only."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from processors.engine.committed_reader import started_reader

Rows = dict[bytes, bytes]


async def load_rows(bootstrap: str, changelogs: Iterable[TopicPartition]) -> dict[TopicPartition, Rows]:
    """Return the rows that stand in each changelog partition.

    To be called after fencing: then no transaction of an earlier owner can still commit into what is being read.
    """
    rows: dict[TopicPartition, Rows] = {tp: {} for tp in changelogs}
    ends = await log_ends(bootstrap, rows)
    reader = await started_reader(bootstrap, max_partition_fetch_bytes=8 << 20, fetch_max_wait_ms=50)
    try:
        reader.assign(list(rows))
        await reader.seek_to_beginning(*rows)
        behind = set(rows)
        while behind := {tp for tp in behind if await reader.position(tp) < ends[tp]}:
            for tp, records in (await reader.getmany(*behind, timeout_ms=100)).items():
                _apply(rows[tp], records)
    finally:
        await reader.stop()
    return rows


def _apply(rows: Rows, records: Iterable[object]) -> None:
    for record in records:
        key, value = record.key, record.value  # type: ignore[attr-defined]
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


async def log_ends(bootstrap: str, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the ends of the logs themselves.

    A read_committed client would be told the last stable offset instead, which stands still while a fenced
    transaction's abort is being written: reading to there would end too early.
    """
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_uncommitted",
        retry_backoff_ms=5,  # it is the wait for the topics' metadata, which is always needed
    ) as asker:
        ends: dict[TopicPartition, int] = await asker.end_offsets(list(tps))
        return ends
