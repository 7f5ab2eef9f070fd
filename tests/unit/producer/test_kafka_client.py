"""Notices when aiokafka moves the private parts that the publisher relies on."""

import asyncio
import gc
import inspect
import math

from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.structs import TopicPartition

from producer import kafka_client
from producer.kafka_client import close_producer, make_producer


async def test_the_age_limit_of_a_batch_is_lifted():
    producer = make_producer("127.0.0.1:1", 1_000, 1_000)
    accumulator = producer._message_accumulator
    assert accumulator._batch_ttl == math.inf
    batch = accumulator._append_batch(accumulator.create_builder(), ("topic", 0))
    assert isinstance(batch, MessageBatch)
    batch._ctime = -1e12
    assert not batch.expired()
    await close_producer(producer)


def test_an_idempotent_producer_retries_without_end_and_in_order():
    assert "self._sender._txn_manager is None and batch.expired()" in inspect.getsource(
        SendProduceReqHandler._can_retry
    )
    assert "ignore_nodes=self._in_flight" in inspect.getsource(Sender._sender_routine)
    assert "_muted_partitions" in inspect.getsource(Sender._send_produce_req)


async def test_a_batch_takes_one_record_however_large_and_no_second_beyond_its_bound():
    producer = make_producer("127.0.0.1:1", 1_000, 1_000)
    batch = producer.create_batch()
    assert isinstance(batch, BatchBuilder)
    assert batch.append(timestamp=1, key=None, value=b"x" * 5_000, headers=[]) is not None
    assert batch.append(timestamp=1, key=None, value=b"x", headers=[]) is None
    await close_producer(producer)


async def test_a_producer_that_cannot_be_stopped_is_given_up_without_a_word(monkeypatch):
    """Batches wait with it, and its sender fails once it is cancelled, as where a broker is away."""
    monkeypatch.setattr(kafka_client, "STOP_SECONDS_MAX", 0.05)
    producer = make_producer("127.0.0.1:1", 1_000, 1_000)
    accumulator = producer._message_accumulator
    accumulator._txn_manager.set_pid_and_epoch(1, 0)
    waiting, sent, sent_again = (
        accumulator._append_batch(accumulator.create_builder(), TopicPartition("topic", number)) for number in range(3)
    )
    accumulator._pop_batch(sent.tp)
    accumulator.reenqueue(accumulator._pop_batch(sent_again.tp))

    async def send() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KafkaError("the broker is away") from None

    sender = producer._sender._sender_task = asyncio.create_task(send())
    sender.add_done_callback(producer._sender._fail_all)
    heard: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    await asyncio.sleep(0)
    await close_producer(producer)
    assert sender.done()
    assert all(batch.future.cancelled() for batch in (waiting, sent, sent_again))
    del sender, waiting, sent, sent_again, accumulator, producer
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert heard == []
