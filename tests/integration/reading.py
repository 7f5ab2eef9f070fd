"""What stands in a topic, as a read_committed consumer sees it."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.engine.recovery import log_ends


async def values(bootstrap: str, topic: str, partition: int = 0) -> list[bytes]:
    """Return the values of a partition, from its beginning to its end of now; waits for transactions in it to end.

    A commit is answered before its marker stands in the log: to the end that a read_committed consumer is told until
    then, its records would be missed.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, 0)  # not seek_to_beginning: a jump to the end may be under way, and come later
        end = (await log_ends(bootstrap, [place]))[place]
        found: list[bytes] = []
        while await consumer.position(place) < end:
            found += [record.value for record in (await consumer.getmany(timeout_ms=500)).get(place, [])]
        return found
    finally:
        await consumer.stop()
