"""aiokafka's producer as the publisher relies on it. Everything that touches its private parts is in this file.

`tests/unit/producer/test_kafka_client.py` notices when upstream moves them.
"""

import asyncio
import math
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer

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
        sender = producer._sender  # noqa: SLF001
        _give_up_batches(producer._message_accumulator)  # noqa: SLF001
        if sender.sender_task is not None:
            # Its own callback would fail a transaction, though there is none.
            sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
            sender.sender_task.add_done_callback(_look_at)
            sender.sender_task.cancel()
            await asyncio.wait([sender.sender_task], timeout=STOP_SECONDS_MAX)
        await producer.client.close()


def _give_up_batches(accumulator: Any) -> None:
    """Cancel what waits for the batches. aiokafka's own `fail_all` leaves errors behind that nobody looks at."""
    batches = [*accumulator._pending_batches, *chain.from_iterable(accumulator._batches.values())]  # noqa: SLF001
    accumulator._pending_batches.update(batches)  # noqa: SLF001 - whence each is removed when it is done
    for batch in batches:
        batch.future.cancel()


def _look_at(task: "asyncio.Task[None]") -> None:
    """Take note of how a task ended, so that nobody is told that nobody did."""
    if not task.cancelled():
        task.exception()
