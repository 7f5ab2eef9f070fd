"""What stands in a topic, as a read_committed consumer sees it."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from processors.engine.recovery import log_ends


async def records(bootstrap: str, topic: str, partitions: Iterable[int]) -> list[ConsumerRecord]:
    """Return the records of partitions, from their beginnings to their ends of now; waits for transactions to end.

    A commit is answered before its marker stands in the log: to the end that a read_committed consumer is told until
    then, its records would be missed.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)  # not seek_to_beginning: a jump to the end may be under way, and come later
        ends = await log_ends(bootstrap, places)
        found: list[ConsumerRecord] = []
        while behind := [place for place in places if await consumer.position(place) < ends[place]]:
            for fetched in (await consumer.getmany(*behind, timeout_ms=500)).values():
                found += fetched
        return found
    finally:
        await consumer.stop()


async def values(bootstrap: str, topic: str, partition: int = 0) -> list[bytes]:
    """Return the values of one partition in the same way."""
    return [record.value for record in await records(bootstrap, topic, [partition])]
