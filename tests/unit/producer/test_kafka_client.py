"""Notices when aiokafka moves the private parts that the publisher relies on."""

import inspect
import math

from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler

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
