"""aiokafka's producer as the publisher relies on it. Everything that touches its private parts is in this file.

`tests/unit/producer/test_kafka_client.py` notices when upstream moves them.
"""

import asyncio
import math

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

STOP_SECONDS_MAX = 2.0


def make_producer(bootstrap: str, batch_bytes_max: int, request_timeout_ms: int) -> AIOKafkaProducer:
    """Return a producer that is idempotent and never gives up a batch for its age."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id="coinglass-streams-producer",
        enable_idempotence=True,
        acks="all",
        max_batch_size=batch_bytes_max,
        request_timeout_ms=request_timeout_ms,
        retry_backoff_ms=250,
        metadata_max_age_ms=60_000,
    )
    # aiokafka fails a batch that is older than the request timeout if its partition has no leader just then, as after a
    # broker's restart; it may have sent it before, so we could not know whether to send it again.
    producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001
    return producer


async def close_producer(producer: AIOKafkaProducer) -> None:
    """Stop the producer, and give up what it holds if it cannot: aiokafka would wait for a broker that is away."""
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await producer.stop()
    except TimeoutError:
        sender = producer._sender.sender_task  # noqa: SLF001
        producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001
        if sender is not None:
            # It would fail all once more, and a transaction where there is none: an AttributeError in the log.
            sender.remove_done_callback(producer._sender._fail_all)  # noqa: SLF001
            sender.cancel()
            done, _ = await asyncio.wait([sender], timeout=STOP_SECONDS_MAX)
            for task in done:
                task.cancelled() or task.exception()  # looked at: nobody wants to hear of it any more
        await producer.client.close()
