"""Sends the requests of transactions to whoever must answer them, for as long as that can still come good.

A leader that moves, a coordinator that loads, a connection that breaks: all pass, and every request of a transaction
may be sent again, as brokers know a repetition by its epoch and sequence. What does not pass is a
TransactionFailedError.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import structlog
from aiokafka import errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.api import Request
from faust.types import TP

from processors.engine.errors import EngineError, TransactionFailedError
from processors.engine.transaction_requests import BrokerFeatures, Produce

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_MS = 5_000
#: How long a request is repeated before the worker gives up: the broker aborts the transaction about then.
PATIENCE_SECONDS = 30.0
BACKOFF_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)

#: Of the connection: whether the request arrived is unknown, and repeating it harmless.
_LOST = (
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.CorrelationIdError,
    OSError,
)
#: Answers that pass: elections, coordinators that move or load, the transaction before that is still being ended.
_COORDINATOR_MOVED = {14, 15, 16}
_PASSING = _COORDINATOR_MOVED | {3, 5, 6, 7, 13, 19, 20, 51, 56, 74, 75, 76}
_DUPLICATE_SEQUENCE = 46  # the batch is in already

A = TypeVar("A")


class _Passing(Exception):  # noqa: N818 - not an error
    """An answer that asks to be patient."""


class TransactionClient:
    """The connections of one transactional id."""

    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self._client = AIOKafkaClient(
            bootstrap_servers=bootstrap,
            client_id="coinglass-streams-transactions",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=60_000,
            retry_backoff_ms=50,
        )
        self._coordinators: dict[tuple[int, str], int] = {}
        self._partitions: dict[str, list[int]] = {}

    async def start(self) -> None:
        """Connect. Raises EngineError where the cluster does not speak version 2 of the protocol."""
        await self._client.bootstrap()
        answer: Any = await self._client.send(self._client.get_random_node(), BrokerFeatures())
        version = answer.finalized.get("transaction.version", 0)
        if version < 2:
            raise EngineError(
                f"this Kafka's transaction.version is {version}: exactly-once needs 2, which Kafka 4.0 and newer have "
                "(kafka-features.sh upgrade --feature transaction.version=2)"
            )

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def partitions_of(self, topic: str) -> list[int]:
        """Return a topic's partitions, in order; from the first time on, their leaders are followed."""
        if topic not in self._partitions:

            async def find() -> list[int]:
                await self._client.add_topic(topic)
                found = self._client.cluster.partitions_for_topic(topic)
                if not found:
                    raise _Passing(f"{topic} is not there")
                return sorted(found)

            self._partitions[topic] = await self._patiently("looking up a topic", find, refresh_metadata=True)
        return self._partitions[topic]

    async def ask_transaction_coordinator(self, request: Request[Any]) -> Any:
        """Return the answer without error of whoever coordinates our transactions."""
        return await self._ask_coordinator(CoordinationType.TRANSACTION, self.transactional_id, request)

    async def ask_group_coordinator(self, group: str, request: Request[Any]) -> Any:
        """Return the answer without error of whoever coordinates the group."""
        return await self._ask_coordinator(CoordinationType.GROUP, group, request)

    async def append(self, batches: Mapping[TP, bytes]) -> None:
        """Append one batch to each partition; returns when all in-sync replicas have them."""
        left = dict(batches)

        async def append_left() -> None:
            by_leader: dict[int, dict[TP, bytes]] = {}
            for tp, batch in left.items():
                leader = self._client.cluster.leader_for_partition(tp)
                if leader is None or leader == -1:
                    raise _Passing(f"{tp} has no leader")
                by_leader.setdefault(leader, {})[tp] = batch
            outcomes = await asyncio.gather(
                *(self._append_to(*one) for one in by_leader.items()), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                for tp in outcome:
                    del left[tp]
            if left:
                raise _Passing("some partitions did not take their batch yet")

        await self._patiently("append", append_left, refresh_metadata=True)

    async def _append_to(self, leader: int, batches: dict[TP, bytes]) -> list[TP]:
        """Return the partitions that took their batch."""
        request = Produce(self.transactional_id, REQUEST_TIMEOUT_MS, batches)
        answer = await self._client.send(leader, request)
        taken = []
        for topic, partitions, *_ in answer.topics:
            for partition, code, *_ in partitions:
                if code in (0, _DUPLICATE_SEQUENCE):
                    taken.append(TP(topic, partition))
                elif code not in _PASSING:
                    raise TransactionFailedError(f"{topic}/{partition} refused its batch: {_name(code)}")
        return taken

    async def _ask_coordinator(self, kind: int, key: str, request: Request[Any]) -> Any:
        async def ask() -> Any:
            node = self._coordinators.get((kind, key))
            if node is None:
                node = self._coordinators[kind, key] = await self._client.coordinator_lookup(kind, key)
            try:
                answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            except _LOST:
                self._coordinators.pop((kind, key), None)
                raise
            for code in _codes(answer):
                if code in _COORDINATOR_MOVED:
                    self._coordinators.pop((kind, key), None)
                if code in _PASSING:
                    raise _Passing(_name(code))
                if code:
                    raise TransactionFailedError(f"{type(request).__name__} was refused: {_name(code)}")
            return answer

        return await self._patiently(type(request).__name__, ask)

    async def _patiently(self, what: str, attempt: Any, *, refresh_metadata: bool = False) -> Any:
        """Repeat an attempt while what goes wrong may pass, for PATIENCE_SECONDS at most."""
        loop = asyncio.get_running_loop()
        deadline, tried = loop.time() + PATIENCE_SECONDS, 0
        while True:
            try:
                return await attempt()
            except (_Passing, *_LOST, errors.CoordinatorNotAvailableError) as error:
                if loop.time() > deadline:
                    raise TransactionFailedError(
                        f"{what} got no lasting answer: {error or type(error).__name__}"
                    ) from error
                passing: Exception = error
            await asyncio.sleep(BACKOFF_SECONDS[min(tried, len(BACKOFF_SECONDS) - 1)])
            tried += 1
            if tried == len(BACKOFF_SECONDS):
                log.info("engine.waiting_for_broker", what=what, why=str(passing) or type(passing).__name__)
            if refresh_metadata and tried > 1:
                await self._client.force_metadata_update()


def _codes(answer: Any) -> list[int]:
    """Return an answer's error codes, from wherever its kind has them."""
    if hasattr(answer, "error_code"):
        return [answer.error_code]
    return [code for _, partitions, _ in answer.topics for _, code, _ in partitions]


def _name(code: int) -> str:
    kind = errors.for_code(code)
    return f"{kind.__name__} ({code})"
