"""Results to topics of their own, exactly once: a run that was cut short is run again, and goes on where it was.

A replay is deterministic, so how many results were written says all: it is committed with them, in the transaction.
The first transaction also commits which offsets the run reads, as a raw topic may have grown by the time it is rerun.

    group {transactional id}          how many results stand, under the dead letters' partition 0
    group {transactional id}-begin    the offsets that the run reads from, of each raw partition
    group {transactional id}-end      and those it reads to
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from broker.admin import connected, ensure_topics
from processors.engine.errors import EngineError, TransactionFailedError
from processors.engine.record_batches import Record, records_by_partition
from processors.engine.step import Changes, Result
from processors.engine.transaction_client import TransactionClient
from processors.engine.transaction_requests import NOBODY, CommitTransaction, InitProducerId, TxnOffsetCommit
from processors.engine.transactions import TRANSACTION_TIMEOUT_MS, append_all
from processors.replay.ordered import Replayed
from processors.replay.own_loop import OwnLoop
from processors.replay.plan import Plan
from processors.windows import WindowSize
from schemas.durations import Duration
from schemas.errors import OperationError
from schemas.topics import Topics

log = structlog.get_logger(__name__)

HEADER_RUN = "replay.run"
HEADER_PARTIAL = "replay.partial"
TRANSACTION_RESULTS_MAX = 5_000

A = TypeVar("A")
Bounds = dict[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run writes, and under which id."""

    bootstrap: str
    topics: Topics
    windows: tuple[WindowSize, ...]
    run_id: str

    @property
    def transactional_id(self) -> str:
        """One run of an id shuts out the one before."""
        return f"replay-{self.topics.prefix}-{self.run_id}"


async def _client(target: Target) -> TransactionClient:
    return TransactionClient(target.bootstrap, target.transactional_id)  # it takes the loop that it is made in


class TopicsSink:
    """Writes as the only one of its run id; `open` first. Where `prompt`, all it is given is committed at once."""

    def __init__(self, target: Target, *, prompt: bool = False) -> None:
        self._target, self._prompt = target, prompt
        self._loop = OwnLoop()
        self._client = self._loop.run(_client(target))
        self._producer = (-1, -1)  # id and epoch
        self._counted = TP(target.topics.dead_letters, 0)
        self._waiting: list[tuple[int, Result]] = []  # each with the raw partition it comes from
        self._written = self._seen = 0
        self._new_bounds: Bounds = {}
        self._headers = ((HEADER_RUN, target.run_id.encode()),)

    @property
    def already_written(self) -> int:
        """How many results an earlier run had written."""
        return self._written

    def open(self, plan: Plan, *, fixed: bool) -> Bounds | None:
        """Shut out an earlier run, and return the offsets that it settled on; None where this is the first.

        `fixed` says that the plan cannot change, as it is of files.
        """
        return self._run(self._open(plan, fixed))

    async def _open(self, plan: Plan, fixed: bool) -> Bounds | None:
        target = self._target
        durations = tuple(Duration(size.name, size.ms) for size in target.windows)
        async with connected(target.bootstrap) as client:
            await ensure_topics(client, target.topics.result_specs(durations))
        await self._client.start()
        request = InitProducerId(target.transactional_id, TRANSACTION_TIMEOUT_MS)
        answer = await self._client.ask_transaction_coordinator(request)
        self._producer = (answer.producer_id, answer.producer_epoch)
        counted = TopicPartition(*self._counted)
        written = (await self._committed("", [counted]))[counted]
        self._written = written or 0
        if fixed:
            return None
        tps = [stretch.tp for stretch in plan]
        if written is None:
            self._new_bounds = {stretch.tp: (stretch.begin, stretch.end) for stretch in plan}
            return None
        begins, ends = await self._committed("-begin", tps), await self._committed("-end", tps)
        bounds: Bounds = {}
        for tp in tps:
            begin, end = begins[tp], ends[tp]
            if begin is None or end is None:
                raise OperationError(f"the run {target.run_id} did not read {tp.topic}: give this one another --run-id")
            bounds[tp] = begin, end
        return bounds

    async def _committed(self, suffix: str, tps: list[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return what a group of this run has committed."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self._target.bootstrap,
            group_id=self._target.transactional_id + suffix,
            enable_auto_commit=False,
        ) as group:
            return {tp: await group.committed(tp) for tp in tps}

    def write(self, results: list[Replayed]) -> None:
        """Take results; those that an earlier run has written are passed over."""
        for one in results:
            self._seen += 1
            if self._seen <= self._written:
                continue
            headers = (*one.result.headers, *self._headers, *(((HEADER_PARTIAL, b"true"),) if one.partial else ()))
            self._waiting.append((one.place[2], one.result._replace(headers=headers)))
            if len(self._waiting) >= TRANSACTION_RESULTS_MAX:
                self._run(self._hand_over())
        if self._waiting and self._prompt:
            self._run(self._hand_over())

    def commit(self) -> None:
        """Write the rest."""
        if self._seen < self._written:
            raise OperationError(
                f"the run {self._target.run_id} had written {self._written} results, and they were {self._seen} now: "
                "the raw topics are no longer what they were; give this run another --run-id"
            )
        if self._waiting or self._new_bounds:
            self._run(self._hand_over())
        self._close()

    def abandon(self) -> None:
        """Leave what is committed, for the next run of this id to go on from; an open transaction stays undone."""
        self._close()

    def _close(self) -> None:
        if not self._loop.closed:
            self._run(self._client.close())
            self._loop.close()

    async def _hand_over(self) -> None:
        """Commit the waiting results, and their number, in one transaction."""
        client, producer = self._client, self._producer
        number = self._written + len(self._waiting)
        partitions = {topic: await client.partitions_of(topic) for topic in {r.topic for _, r in self._waiting}}
        records: dict[TP, list[Record]] = {}
        for source, result in self._waiting:  # one by one: where a result has no key, its source's number decides
            placed = records_by_partition(
                Changes({}, [result]), TP(self._counted.topic, source), 0, partitions.__getitem__
            )
            for tp, some in placed.items():
                records.setdefault(tp, []).extend(some)
        await append_all(client, records, producer)
        for tp, (begin, end) in self._new_bounds.items():
            await self._commit_offset("-begin", TP(*tp), begin)
            await self._commit_offset("-end", TP(*tp), end)
        await self._commit_offset("", self._counted, number)
        answer = await client.ask_transaction_coordinator(CommitTransaction(client.transactional_id, producer))
        self._producer = (answer.producer_id, answer.producer_epoch)
        self._written = self._seen = number
        self._waiting, self._new_bounds = [], {}

    async def _commit_offset(self, suffix: str, tp: TP, offset: int) -> None:
        group = self._target.transactional_id + suffix
        request = TxnOffsetCommit(self._client.transactional_id, self._producer, group, NOBODY, tp, offset)
        await self._client.ask_group_coordinator(group, request)

    def _run(self, asking: Coroutine[Any, Any, A]) -> A:
        try:
            return self._loop.run(asking)
        except (EngineError, TransactionFailedError, KafkaError) as error:
            raise OperationError(f"the results could not be written: {error}; run it again, it goes on") from error
