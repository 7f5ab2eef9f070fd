"""A consumer of committed records alone, of partitions that it is told of."""

from typing import Any

from aiokafka import AIOKafkaConsumer

from processors.engine.light_records import hand_over_light_records


async def started_reader(bootstrap: str, **options: Any) -> AIOKafkaConsumer:
    """Return a started consumer that hands over light records, for the caller to stop; `options` are aiokafka's."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **options,
    )
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    hand_over_light_records(consumer)
    return consumer
