"""What stands in Kafka: records to the true end of a log, offsets of a group, rows of a changelog."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

READ_SECONDS_MAX = 600.0


@asynccontextmanager
async def reader(bootstrap: str, isolation: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer that belongs to no group and starts nowhere."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def log_ends(
    bootstrap: str, places: Iterable[TopicPartition], isolation: str = "read_uncommitted"
) -> dict[TopicPartition, int]:
    """Return where the logs end: truly, or for readers of committed records (the last stable offset)."""
    async with reader(bootstrap, isolation) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(places))
        return ends


async def open_transactions(bootstrap: str, places: Iterable[TopicPartition], seconds_max: float) -> list[str]:
    """Wait until no transaction is open in these partitions; return those where one still is."""
    places, deadline = list(places), asyncio.get_running_loop().time() + seconds_max
    while True:
        ends, stable = await log_ends(bootstrap, places), await log_ends(bootstrap, places, "read_committed")
        still = [f"{p.topic}/{p.partition} at {stable[p]} of {ends[p]}" for p in places if stable[p] < ends[p]]
        if not still or asyncio.get_running_loop().time() > deadline:
            return still
        await asyncio.sleep(0.5)


async def committed_records(bootstrap: str, place: TopicPartition) -> AsyncIterator[list[ConsumerRecord]]:
    """Yield the committed records of a partition, some at a time, up to the end as it is now."""
    async with reader(bootstrap) as consumer, asyncio.timeout(READ_SECONDS_MAX):
        end = (await consumer.end_offsets([place]))[place]
        begin = (await consumer.beginning_offsets([place]))[place]
        consumer.assign([place])
        consumer.seek(place, begin)
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=200, max_records=20_000)).values():
                yield [record for record in records if record.offset < end]


async def rows_of(bootstrap: str, changelog: TopicPartition) -> dict[bytes, bytes]:
    """Return the live rows of a changelog partition."""
    rows: dict[bytes, bytes] = {}
    async for records in committed_records(bootstrap, changelog):
        for record in records:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
    return rows


async def group_offsets(bootstrap: str, group: str) -> dict[TopicPartition, int]:
    """Return the offsets that a group has committed."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        offsets = await client.list_consumer_group_offsets(group)
        return {place: committed.offset for place, committed in offsets.items() if committed.offset >= 0}
    finally:
        await client.close()
