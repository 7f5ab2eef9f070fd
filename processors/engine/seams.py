"""Everything the engine needs of Faust's private parts, in this one file.

Faust 0.15.3 commits offsets on its own, reads changelogs by a counter that transactions leave holes in, and hands over
one event a record. These subclasses take just that away, and leave it agents, tables, web, conductor and assignor.
`tests/unit/engine/test_seams.py` fails when upstream moves a piece that is overridden or called here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Protocol

import faust
import structlog
from aiohttp.web import AppRunner
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from mode import Service

from processors.engine.batches import Batch
from processors.engine.crash import crash
from processors.engine.light_records import hand_over_light_records
from processors.engine.transaction_requests import GroupIdentity

log = structlog.get_logger(__name__)

FETCH_WAIT_MS_MAX = 100  # Faust's own 1,500 is a pause after every seek
#: A broker answers as soon as it has one record, and a fetch costs as much as a hundred records: at least so much time
#: lies between two. Under a backlog fetches take longer by themselves.
FETCH_PERIOD_SECONDS = 0.04


class PartitionOwner(Protocol):
    """What these parts ask of the engine, as Faust asks it of them; the app has it as `engine`."""

    def is_source(self, topic: str) -> bool:
        """Whether the engine, and not Faust, keeps this topic's offsets."""

    def positions(self) -> Mapping[TP, int]:
        """Return the offset each owned partition goes on from."""

    def missed(self, tp: TP, offsets: int) -> None:
        """Take note that so many offsets are not in the log any more, or never held a record."""

    async def recover(self, generation: int) -> None:
        """Take over what this generation of the group assigned to us."""

    def resume(self) -> None:
        """Take batches from now on."""

    async def quiesce(self) -> None:
        """Take no more batches, and return once what was applied is committed."""

    async def close(self) -> None:
        """Commit what was applied and give everything up."""


def _owner(app: Any) -> PartitionOwner:
    owner: PartitionOwner = app.engine
    return owner


class ExactConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka; differs in two settings that Faust does not pass on."""

    async def on_start(self) -> None:
        """Connect, or end the worker with one line: Faust would log how it fell apart, layer by layer."""
        try:
            await super().on_start()
        except KafkaError as error:
            crash("the broker was lost while the worker started", error)
        consumer = self._ensure_consumer()
        hand_over_light_records(consumer)
        pace_fetches(consumer)

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX
        consumer._isolation_level = "read_committed"  # raw topics may be written in transactions too
        return consumer


def pace_fetches(consumer: AIOKafkaConsumer) -> None:
    """Have a started consumer leave FETCH_PERIOD_SECONDS between the beginnings of two fetches from a node."""
    of: fetcher.Fetcher = consumer._fetcher
    fetch, began = of._proc_fetch_request, dict[int, float]()

    async def paced(assignment: Any, node: int, request: Any) -> bool:
        now = time.monotonic()
        wait_seconds = began.get(node, 0.0) + FETCH_PERIOD_SECONDS - now
        if wait_seconds > 0:
            try:
                await asyncio.sleep(wait_seconds)
            except asyncio.CancelledError:
                return False  # as the fetch itself does
        began[node] = time.monotonic()
        return bool(await fetch(assignment, node, request))

    of._proc_fetch_request = paced


class ExactConsumer(driver.Consumer):
    """Yields one message per (partition, fetched batch) of a source topic, and never commits its offsets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[TP, int] = {}  # offset that the next batch must follow on from
        self._missing_at: dict[TP, int] = {}  # where a fetch once began too late; twice, and the log has a hole there

    def _new_consumer_thread(self) -> ExactConsumerThread:
        return ExactConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch, and yield a message per partition whose value is its Batch."""
        records, _ = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        for tp, fetched in (records or {}).items():
            if self.should_stop or not self.flow_active or generation != self.app.consumer_generation_id:
                return  # all that was fetched stands in the log, and is fetched again
            # Not asked for by the set that the fetch was made with: it shrinks while a stream is full, and what was
            # fetched then must not be lost.
            if tp in self._paused_partitions or not fetched or not _owner(self.app).is_source(tp.topic):
                continue
            base = self._next.get(tp)
            if base is None:
                continue
            if not await self._follows_on(tp, base, fetched[0].offset):
                continue
            batch = Batch(fetched, base)
            self._next[tp] = batch.end
            yield tp, self._message(tp, batch)

    def _message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        """Return what a batch travels in; to Faust it is one message, at the offset of its last record."""
        last = batch[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1e3,
            timestamp_type=0,
            headers=[],
            key=None,
            value=batch,  # type: ignore[arg-type]
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _follows_on(self, tp: TP, base: int, first: int) -> bool:
        """Whether a fetch that begins at `first` continues at `base`; if not, seek back.

        After a rebalance a fetch that was under way can arrive for a partition that was kept, from where it no longer
        is. But a log may also really have a hole: then the fetch after the seek begins in the same place.
        """
        if self._missing_at.pop(tp, None) == first:
            if first < base:
                crash(f"{tp} is at {base} and its log begins anew at {first}: the topic was made again")
            log.warning("engine.offsets_missing", tp=f"{tp.topic}/{tp.partition}", expected=base, found=first)
            _owner(self.app).missed(tp, first - base)
            return True
        if first == base:
            return True
        self._missing_at[tp] = first
        log.debug("engine.fetch_out_of_place", tp=f"{tp.topic}/{tp.partition}", fetched=first, expected=base)
        await self.seek_wait({tp: base})
        return False

    async def perform_seek(self) -> None:
        """Go on from the recovered state; Faust would ask the group, which may know nothing."""
        positions = _owner(self.app).positions()
        self._missing_at.clear()
        self._next = dict(positions)
        if positions:
            await self.seek_wait(positions)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        """Forget acks of source topics: the compiled StreamIterator writes them here past `ack()`."""
        for tp in [tp for tp in self._acked if _owner(self.app).is_source(tp.topic)]:
            self._acked.pop(tp)
            self._acked_index.pop(tp, None)
        return super()._filter_tps_with_pending_acks(topics)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps for source topics: a batch is one offset to Faust, and all before it looks like a gap."""
        if not _owner(self.app).is_source(tp.topic):
            await super()._add_gap(tp, offset_from, offset_to)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Trip the wire: were Faust to commit a source offset, it could pass what is still in flight."""
        if any(_owner(self.app).is_source(tp.topic) for tp in offsets):
            crash(f"Faust tried to commit {dict(offsets)}")
        return await super()._commit(offsets)

    @Service.task
    async def _watch_coordination(self) -> None:
        """Tell when the broker is lost and back; end the worker if aiokafka's work for the group has ended.

        It would sit there and do nothing.
        """
        reached = False
        while not self.should_stop:
            await self.sleep(1.0)
            consumer = self._thread._consumer
            task = getattr(consumer and consumer._coordinator, "_coordination_task", None)
            if task is not None and task.done() and not self.should_stop:
                crash("the work for the consumer group ended", None if task.cancelled() else task.exception())
            if reached != broker_reached(self.app) and not self.should_stop:
                reached = not reached
                log.info("engine.broker_reached") if reached else log.warning("engine.broker_lost")

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what is under way before anyone else may take over."""
        await _owner(self.app).quiesce()
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        """Drain."""
        await _owner(self.app).close()
        await super().on_stop()


class ExactProducer(driver.Producer):
    """Faust's own producer, which nothing here writes with; it is started all the same."""

    async def on_start(self) -> None:
        """Connect, or end the worker with one line."""
        try:
            await super().on_start()
        except KafkaError as error:
            crash("the broker was lost while the worker started", error)


class ExactTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = ExactConsumer
    Producer = ExactProducer


class ExactRecovery(Recovery):
    """Recovery by the engine instead of Faust's changelog reader, which waits for offsets that are control records."""

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]
                return
            self.signal_recovery_start.clear()
            generation = self._generation_id
            owner = _owner(self.app)
            try:
                self._set_recovery_started()
                await self._recover(owner, generation)
                self._set_recovery_ended()
                await self._resume_streams(generation)
                owner.resume()
            except (RebalanceAgain, IllegalStateError):
                continue  # the group moved on meanwhile: the next signal is there already or on its way
            except ServiceStopped:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no state to go on with
                crash("recovery failed", error)

    async def _recover(self, owner: PartitionOwner, generation: int) -> None:
        """Recover, unless the group moves on or the worker stops meanwhile; leaves nothing of it running then.

        Were the next recovery to begin beside one that is only cancelled, the two would shut each other out.
        """
        recovering = asyncio.ensure_future(owner.recover(generation))
        try:
            await self._wait(recovering)
        finally:
            recovering.cancel()
            await asyncio.gather(recovering, return_exceptions=True)

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Read nothing: the engine has."""


class ExactAssignor(PartitionAssignor):
    """Faust's assignor, for a static member that comes back with another web address.

    The broker hands such a member its old assignment, address included; Faust asserts that it has not changed, in a
    place where the failure stops the group's work for good without ending the process.
    """

    def on_assignment(self, assignment: Any) -> None:
        """Take the assignment as if it had been made for our present address."""
        metadata = ClientMetadata.loads(self._decompress(assignment.user_data))
        metadata.url = str(self._url)
        super().on_assignment(
            ConsumerProtocolMemberAssignment(
                assignment.version, assignment.assignment, self._compress(metadata.dumps())
            )
        )


class ExactTableManager(TableManager):
    """Faust's table manager with our recovery, and without its fixed second of sleep at start."""

    async def on_start(self) -> None:
        """Start recovery at once."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = ExactRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class CommittedTable(faust.Table[bytes, bytes]):
    """A Faust table that shows committed rows: the engine fills its store, and nobody else may write."""

    def on_key_set(self, key: bytes, value: bytes) -> None:
        """Refuse."""
        del value
        raise TypeError(
            f"table {self.name} holds what is committed: return rows from the step instead of setting {key!r}"
        )

    def on_key_del(self, key: bytes) -> None:
        """Refuse."""
        raise TypeError(
            f"table {self.name} holds what is committed: return rows from the step instead of deleting {key!r}"
        )


# What Faust logs of itself belongs under Faust's name; mode has just named each class's logger after this module.
for _service in (ExactConsumerThread, ExactConsumer, ExactProducer, ExactRecovery, ExactTableManager, CommittedTable):
    _service.logger = driver.logger


#: What a Faust app must be made with for the engine to work in it.
exact_app_options: Mapping[str, Any] = {
    "Table": CommittedTable,
    "TableManager": ExactTableManager,
    "PartitionAssignor": ExactAssignor,
    "store": "memory://",
    "topic_allow_declare": False,  # made beforehand, with settings that Faust does not know
    "topic_disable_leader": True,  # its topic serves elections that nothing here asks for
    "table_standby_replicas": 0,  # Faust purges memory standbys after recovery
    "stream_recovery_delay": 0.0,
    "stream_wait_empty": False,  # the engine waits for what matters
    "stream_buffer_maxsize": 4,  # batches
    "consumer_auto_offset_reset": "earliest",
    "broker_session_timeout": 6.0,  # the broker's own minimum: how long a dead member holds the group up
    "broker_heartbeat_interval": 1.0,
    "broker_rebalance_timeout": 10.0,
    "broker_max_poll_records": 20_000,
    "consumer_max_fetch_size": 4 << 20,
}


def use_exact_parts(app: faust.App, engine: PartitionOwner) -> None:
    """Put the engine, and the consumer that serves it, into an app."""
    app.engine = engine  # type: ignore[attr-defined]
    app.transport = ExactTransport(app.conf.broker_consumer, app)
    app.producer_transport = ExactTransport(app.conf.broker_producer, app)


def serve_with(app: faust.App, runner: AppRunner) -> None:
    """Have Faust's web server run in this runner: Faust's own knows no limits of connections and idleness."""
    app.web._runner = runner  # type: ignore[attr-defined]


async def committed_offsets(app: faust.App, tps: Iterable[TP]) -> dict[TP, int | None]:
    """Return the group's committed offsets; None where it has none."""
    thread = app.consumer._thread  # type: ignore[attr-defined]
    return {tp: await thread.call_thread(thread._consumer.committed, TopicPartition(*tp)) for tp in tps}


def group_identity(app: faust.App, generation: int) -> GroupIdentity:
    """Return who we are in the group, as a member of that generation."""
    coordinator = app.consumer._thread._consumer._coordinator  # type: ignore[attr-defined]
    return GroupIdentity(generation, coordinator.member_id, app.conf.consumer_group_instance_id or None)


def known_log_end(app: faust.App, tp: TP) -> int | None:
    """Return a partition's log end as the last fetch told; None where it told nothing, or the partition is lost."""
    try:
        end: int | None = app.consumer.highwater(tp)
    except AssertionError:  # revoked a moment ago, in the consumer's thread
        return None
    return end


def broker_reached(app: faust.App | AppT) -> bool:
    """Whether the group's coordinator is known, which aiokafka forgets when it loses it."""
    thread = getattr(app.consumer, "_thread", None)
    consumer = thread._consumer if thread is not None else None
    return consumer is not None and getattr(consumer._coordinator, "coordinator_id", None) is not None


def owners(app: faust.App) -> dict[TP, str]:
    """Return the web address of the worker that each source partition was assigned to, as our generation was told.

    It is for people to read: workers on two machines may have the same address, and then only one of them is here.
    """
    told = app.assignor.external_topics_metadata()  # type: ignore[attr-defined]
    return {
        TP(topic, partition): str(url)
        for url, topics in told.items()
        for topic, partitions in topics.items()
        for partition in partitions
    }
