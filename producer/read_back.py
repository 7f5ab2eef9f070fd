"""Reads the topics back from the first entry on that an earlier producer may have published without our knowing."""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from producer.outbox import Place
from producer.published import Published, Suspects

#: A broker that has not answered for so long is asked anew.
SILENT_SECONDS_MAX = 30.0
AGAIN_AFTER_S = 1.0
FETCH_BYTES_MAX = 4 << 20  # of one partition

log = structlog.get_logger(__name__)


async def read_back(bootstrap: str, places: Iterable[Place], suspects: Suspects) -> Published:
    """Return which of the suspects stand in these partitions; tried until the broker tells."""
    tps = [TopicPartition(topic, number) for topic, number in places]
    while suspects.since_ms is not None:
        try:
            return await _read_back(bootstrap, tps, suspects, suspects.since_ms)
        except (TimeoutError, KafkaError) as error:
            log.warning("spool.no_broker", error=f"{type(error).__name__}: {error}"[:200], retry_in_s=AGAIN_AFTER_S)
        await asyncio.sleep(AGAIN_AFTER_S)
    return Published()


async def _read_back(bootstrap: str, tps: list[TopicPartition], suspects: Suspects, since_ms: int) -> Published:
    published = Published(suspects)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=100,
    )
    try:
        async with asyncio.timeout(SILENT_SECONDS_MAX) as silence:
            await consumer.start()
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
            behind = {tp for tp in tps if found.get(tp) and found[tp].offset < ends[tp]}
            for tp in behind:
                consumer.seek(tp, found[tp].offset)
            while behind:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=200)).items():
                    silence.reschedule(asyncio.get_running_loop().time() + SILENT_SECONDS_MAX)
                    for record in records:
                        published.add((tp.topic, tp.partition), record.key, record.value, record.headers)
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return published
