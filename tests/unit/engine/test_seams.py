"""Contract tests: each piece of Faust and aiokafka that the engine overrides or calls is still what it was.

A failure means that upstream has moved. The second column says what depends on it: read that in seams.py, then the
new source, before changing the fingerprint here.
"""

import asyncio
import hashlib
import inspect
from itertools import pairwise
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver

from processors.engine import seams

PIECES = [
    (Consumer.getmany, "ExactConsumer.getmany yields batches", "4b168d84882a"),
    (Consumer._wait_next_records, "ExactConsumer.getmany fetches with it", "6218e1969a63"),
    (Consumer._drain_messages, "reads what getmany yields, by offset", "44a2500309e8"),
    (Consumer.perform_seek, "ExactConsumer.perform_seek seeks to the recovered positions", "0e8c130ff4b0"),
    (Consumer._filter_tps_with_pending_acks, "source topics' acks are forgotten there", "f6f923977423"),
    (Consumer._add_gap, "source topics keep no gaps", "4df2573ded7c"),
    (Consumer.on_partitions_revoked, "ExactConsumer quiesces before it", "d04b7ae72c6f"),
    (Consumer.on_stop, "ExactConsumer drains before it", "45b1d2210ce2"),
    (driver.Consumer._to_message, "ExactConsumer._message makes a batch's like it", "7c24f6511b2f"),
    (PartitionRecords._unpack_records, "LightPartitionRecords is asked by it for each record", "b803e6d46480"),
    (PartitionRecords._consumer_record, "LightPartitionRecords replaces it", "e668541600b0"),
    (FetchResult.__init__, "hand_over_light_records() turns what is in it", "126a3e45763b"),
    (Fetcher._proc_fetch_request, "pace_fetches() wraps it", "59bf948fff47"),
    (driver.Consumer._new_consumer_thread, "ExactConsumer's own thread", "0870ec53dea7"),
    (
        driver.AIOKafkaConsumerThread._create_worker_consumer,
        "fetch wait and isolation are set after it",
        "c2701bfc3e6f",
    ),
    (driver.AIOKafkaConsumerThread._fetch_records, "what a fetch may take", "39a2c6c79fc1"),
    (
        driver.ConsumerRebalanceListener.on_partitions_assigned,
        "sets the generation that recover() compares",
        "1c1f8406ad36",
    ),
    (Recovery._restart_recovery, "ExactRecovery replaces it", "6bd8a8558a2d"),
    (Recovery._slurp_changelogs, "ExactRecovery replaces it", "7825c7e50f76"),
    (Recovery._resume_streams, "ExactRecovery calls it", "d986a6710c1a"),
    (Recovery.on_rebalance, "signals recovery with the generation", "aa4d997a1795"),
    (TableManager.on_start, "ExactTableManager replaces its sleep", "365dd25fbc0e"),
    (TableManager._update_channels, "ExactTableManager calls it", "88e3941facc9"),
    (Table.on_key_set, "CommittedTable refuses writes", "a370e35ca55c"),
    (Table.on_key_del, "CommittedTable refuses writes", "4f2900b2f9d2"),
    (Collection.on_rebalance, "leaves the memory store's rows to the engine", "0812ad692171"),
    (PartitionAssignor.on_assignment, "ExactAssignor passes it our present address", "72f34bf053d6"),
    (AIOKafkaClient.send, "TransactionClient sends with it; its errors are told apart", "246b277687d7"),
    (AIOKafkaClient.coordinator_lookup, "TransactionClient asks who coordinates", "19cc69fb75f8"),
    (AIOKafkaConnection.send, "requests of our own are built and written", "5909ea32f4ef"),
    (AIOKafkaConnection._handle_frame, "answers of our own are read", "46a7d9b8cf7c"),
    (Request.prepare, "picks the one version that our requests have", "3a65d9fdefe3"),
    (RequestStruct.build_request_header, "flexible headers", "a3b54a5d4d46"),
    (_DefaultRecordBatchBuilderPy.append, "record_batches builds with its compiled twin", "9c5ddd13af84"),
    (driver.Producer.on_start, "ExactProducer ends the worker where it fails", "219c9a7a785d"),
    (driver.AIOKafkaConsumerThread.on_start, "ExactConsumerThread ends the worker where it fails", "38b4e8bd1e10"),
    (AIOKafkaConsumer.committed, "committed_offsets()", "d8706147ab15"),
    (Fetcher.end_offsets, "recovery reads the true end through _isolation_level", "d03333ff4f87"),
]


def fingerprint(piece):
    return hashlib.sha256(inspect.getsource(piece).encode()).hexdigest()[:12]


def source_of(piece):
    return getattr(piece, "fun", piece)  # mode's @Service.task keeps the function in .fun


@pytest.mark.parametrize(
    ("piece", "dependent", "expected"), PIECES, ids=[source_of(p).__qualname__ for p, _, _ in PIECES]
)
def test_upstream_is_what_the_engine_was_written_against(piece, dependent, expected):
    assert fingerprint(source_of(piece)) == expected, f"upstream changed what this stands on: {dependent}"


async def test_fetches_from_a_node_begin_a_period_apart_and_those_from_two_nodes_do_not_wait_for_each_other():
    began = []

    async def fetch(assignment, node, request):
        began.append((node, asyncio.get_running_loop().time()))
        return True

    fetcher = SimpleNamespace(_proc_fetch_request=fetch)
    seams.pace_fetches(fetcher)
    for _ in range(3):
        assert await asyncio.gather(*(fetcher._proc_fetch_request(None, node, None) for node in (1, 2))) == [True, True]
    for node in (1, 2):
        times = [at for of, at in began if of == node]
        assert all(b - a > 0.9 * seams.FETCH_PERIOD_SECONDS for a, b in pairwise(times))


async def test_a_fetch_that_is_cancelled_while_it_waits_ends_like_one_that_is_cancelled_on_its_way():
    async def fetch(assignment, node, request):
        return True

    fetcher = SimpleNamespace(_proc_fetch_request=fetch)
    seams.pace_fetches(fetcher)
    await fetcher._proc_fetch_request(None, 1, None)
    waiting = asyncio.ensure_future(fetcher._proc_fetch_request(None, 1, None))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting is False
