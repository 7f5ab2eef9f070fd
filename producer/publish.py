"""The loop that publishes: takes entries from the buffer, and gives each to Kafka once and in its partition's order.

aiokafka keeps order and uniqueness within one producer: idempotent, one request in flight a node, a batch is retried
until it is in. What it does not do is done here:

- Batches are built here, one at a time a partition, and an entry stays ours until its batch is acknowledged.
- A batch that the broker refuses for good leaves a hole in the producer's sequence numbers, and every later batch of
  the partition would be refused for that. So the producer is replaced, once nothing is in flight, and all goes again.
- A batch never expires (see `kafka_client`): one that failed for its age might be in, or not.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from producer.backlog import Backlog
from producer.buffer import Buffer
from producer.entries import DeadLetterEntry, Entry, FrameEntry, MarkEntry
from producer.kafka_client import close_producer, make_producer
from producer.marks import feed_mark
from producer.outbox import Outbox, Place
from producer.protocol import RawKind
from producer.published import Suspects
from producer.read_back import read_back
from producer.settings import ProducerSettings
from producer.spool import SpoolRefusedError, SpoolUnreadableError
from producer.spool_folder import SpoolFolder
from producer.stats import Stats
from schemas.errors import OperationError
from schemas.topics import (
    HEADER_CONNECTION,
    HEADER_DETAIL,
    HEADER_REASON,
    HEADER_RECORDS,
    HEADER_SEQUENCE,
    HEADER_SOURCE_TIMESTAMP,
    MARK_KEY,
)

#: A broker that acknowledged nothing for so long is worth a line.
STALLED_AFTER_S = 5.0
RENEW_PAUSE_S = 1.0
START_SECONDS_MAX = 15.0
LOOK_FOR_SPOOL_EVERY_S = 60.0

#: Channels whose partition is remembered.
_PARTITIONS_KEPT_MAX = 4_096

log = structlog.get_logger(__name__)


class Publisher:
    """Publishes what the buffer holds. `start`, then `run` until `finish`, then `keep` and `close`; all in one loop."""

    def __init__(
        self,
        settings: ProducerSettings,
        buffer: Buffer,
        stats: Stats,
        *,
        observe_ack_s: Callable[[float], object] = lambda _: None,
    ) -> None:
        topics = settings.topics
        self._settings = settings
        self._buffer = buffer
        self._stats = stats
        self._observe_ack_s = observe_ack_s
        self._topic_of = {RawKind.LIQUIDATIONS: topics.raw_liquidations, RawKind.TRADES: topics.raw_trades}
        self._partitions: dict[str, list[int]] = {}
        self._partition_of: dict[bytes, int] = {}
        self._raw_places: list[Place] = []
        self._partitioner = DefaultPartitioner()
        self._producer: AIOKafkaProducer | None = None
        self._outbox = Outbox(buffer.free)
        self._backlog = Backlog(buffer, self._outbox, self._places, stats)
        self._spools: SpoolFolder | None = None
        self._look_for_spool_at_s = 0.0
        self._spool_refused = False
        self._sent_at_s: dict[Place, float] = {}  # of what is in flight, monotonic
        self._progress_at_s = 0.0  # when something was last acknowledged, or nothing had to be
        self._batch_bytes_max: dict[str, int] = {}  # learned from refusals: a topic may take less than a broker
        self._too_large: set[int] = set()  # numbers of frames that the broker refused to hold
        self._homeless = False
        self._broken = False
        self._renew_pause_s = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._finishing = False
        self._woken = asyncio.Event()
        self._stalled = False

    @property
    def left(self) -> int:
        """Records that are not acknowledged; a mark counts once a partition."""
        return self._backlog.left

    @property
    def left_in_memory_only(self) -> int:
        """Of those, how many entries would be lost if this process ended now."""
        return self._backlog.in_memory_only

    def wake(self) -> None:
        """Look at the buffer again; for the loop's own thread."""
        self._woken.set()

    async def start(self, spools: SpoolFolder | None = None) -> None:
        """Connect, learn the partitions, open a spool. Raises OperationError if the broker does not serve us."""
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                self._producer = await self._started()
        except (TimeoutError, KafkaError) as error:
            raise OperationError(
                f"the Kafka broker at {self._settings.bootstrap} takes no producer: {type(error).__name__}; "
                "look at the broker's log"
            ) from error
        self._spools = spools
        self._look_for_spool(time.monotonic())

    async def run(self) -> None:
        """Publish until `finish` was called and everything is acknowledged, or kept while the broker is away."""
        while not self._is_done():
            self._woken.clear()
            self._raise_what_failed()
            now_s = time.monotonic()
            self._look_for_spool(now_s)
            moved = self._backlog.move(now_s, stalled=self._takes_nothing(now_s))
            if not self._broken:
                await self._send_ready()
            elif not (self._sent_at_s or "renew" in self._tasks):
                self._tasks["renew"] = asyncio.create_task(self._renew())
            await self._wait(moved)

    def finish(self) -> None:
        """Let `run` return; nothing is put into the buffer any more."""
        self._finishing = True
        self._woken.set()

    def keep(self) -> None:
        """Write what is not acknowledged to the spool; after `run`."""
        self._backlog.keep()

    async def close(self) -> None:
        """Close connections and spool; what is still in flight and in no spool is given up."""
        self._finishing = True
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self._close_producer()
        self._backlog.close()

    async def _close_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer)

    def _is_done(self) -> bool:
        if not self._finishing:
            return False
        return not self.left or (self._takes_nothing(time.monotonic()) and not self.left_in_memory_only)

    def _takes_nothing(self, now_s: float) -> bool:
        """Whether the broker has acknowledged nothing for so long that memory is not the place to wait."""
        if not self._outbox:
            self._progress_at_s = now_s
        return now_s - self._progress_at_s >= self._settings.spool_after_ms / 1000

    def _raise_what_failed(self) -> None:
        """Let go of the work beside the loop that is done."""
        for name, task in [*self._tasks.items()]:
            if task.done():
                del self._tasks[name]
                task.result()

    # Where entries go

    def _places(self, entry: Entry) -> Sequence[Place]:
        """Return where the entry is to be published, the same places each time."""
        if isinstance(entry, FrameEntry):
            topic = self._topic_of[entry.kind]
            return ((topic, self._keyed(topic, entry.channel)),)
        if isinstance(entry, DeadLetterEntry):
            topic = self._settings.topics.dead_letters
            partitions = self._partitions[topic]
            return ((topic, partitions[entry.sequence % len(partitions)]),)
        return self._raw_places

    def _keyed(self, topic: str, key: bytes) -> int:
        number = self._partition_of.get(key)
        if number is None:
            if len(self._partition_of) >= _PARTITIONS_KEPT_MAX:
                self._partition_of.clear()
            partitions = self._partitions[topic]
            number = self._partition_of[key] = int(self._partitioner(key, partitions, partitions))
        return number

    def _know_partitions(self, topic: str, numbers: Sequence[int]) -> None:
        self._partitions[topic] = sorted(numbers)
        self._partition_of.clear()
        self._raw_places = [(raw, n) for raw in self._settings.topics.raw for n in self._partitions.get(raw, ())]

    def _look_at_partitions(self) -> None:
        """Take over what the client knows of the topics: a topic may be given more partitions while we run."""
        assert self._producer is not None
        cluster = self._producer.client.cluster
        for topic in (*self._settings.topics.raw, self._settings.topics.dead_letters):
            known = sorted(cluster.partitions_for_topic(topic) or ())
            if known and known != self._partitions.get(topic):
                self._know_partitions(topic, known)

    # The spool

    def _look_for_spool(self, now_s: float) -> None:
        """Open one where there is none; else, now and then, one that a producer left which is no more."""
        backlog = self._backlog
        if self._spools is None or now_s < self._look_for_spool_at_s or not (backlog.spool is None or backlog.is_idle):
            return
        self._look_for_spool_at_s = now_s + LOOK_FOR_SPOOL_EVERY_S
        try:
            spool = self._spools.take_leftovers() if backlog.spool else self._spools.take()
        except SpoolRefusedError as error:
            if not self._spool_refused:
                self._spool_refused = True
                remedy = "let the producer write to --spool-dir, or name another; until then memory is all there is"
                log.error("spool.refused", folder=str(self._settings.spool_dir), error=str(error), remedy=remedy)
            return
        if spool is None:
            return
        if not (spool.is_empty or backlog.is_idle):
            spool.close()
            return
        self._look_for_spool_at_s = now_s  # there may be more of them
        try:
            self._tasks["compare"] = asyncio.create_task(self._compare(backlog.use(spool)))
        except SpoolUnreadableError as error:
            spool.set_aside(error)

    async def _compare(self, suspects: Suspects) -> None:
        """Find out what of the spool is in Kafka already."""
        places = [(topic, number) for topic, numbers in self._partitions.items() for number in numbers]
        self._backlog.compare_with(await read_back(self._settings.bootstrap, places, suspects))
        self.wake()

    # Batches

    async def _send_ready(self) -> None:
        assert self._producer is not None
        self._look_at_partitions()
        cluster = self._producer.client.cluster
        self._homeless = False
        for place, waiting in self._outbox.ready():
            if self._broken:
                return
            if place[1] in (cluster.partitions_for_topic(place[0]) or ()):
                await self._send(place, waiting)
            else:
                self._homeless = True  # somebody deleted the topic

    async def _send(self, place: Place, waiting: Iterable[Entry]) -> None:
        """Hand one batch of the partition to aiokafka, which tries until the broker took or refused it."""
        assert self._producer is not None
        batch = self._producer.create_batch()
        count = used_bytes = 0
        bytes_max = self._batch_bytes_max.get(place[0], self._settings.batch_bytes_max)
        for entry in waiting:
            cost_bytes = entry.cost_bytes
            too_large = entry.number in self._too_large
            if count and (too_large or used_bytes + cost_bytes > bytes_max):
                break
            if not (_append_all(batch, self._gap(entry)) if too_large else _append(batch, entry)):
                break
            count += 1
            used_bytes += cost_bytes
            if too_large:
                break
        batch.close()
        self._outbox.send(place, count, used_bytes)
        try:
            acknowledged = await self._producer.send_batch(batch, place[0], partition=place[1])
        except KafkaError as error:  # not handed over
            self._outbox.take_back(place)
            self._broken, self._renew_pause_s = True, RENEW_PAUSE_S
            log.warning("publish.refused", topic=place[0], partition=place[1], error=_name(error))
            return
        self._sent_at_s[place] = time.monotonic()
        acknowledged.add_done_callback(lambda future: self._settle(place, future))

    def _settle(self, place: Place, future: "asyncio.Future[Any]") -> None:
        """Let go of an acknowledged batch; put a refused one back where it was."""
        sent_at_s = self._sent_at_s.pop(place)
        self._woken.set()
        if future.cancelled():
            self._outbox.take_back(place)
            return
        error = future.exception()
        if error is not None:
            self._take_back(place, error)
            return
        self._progress_at_s = time.monotonic()
        self._observe_ack_s(self._progress_at_s - sent_at_s)
        entries = self._outbox.acknowledge(place)
        self._stats.published += len(entries)
        now_ms, delays = time.time_ns() // 1_000_000, self._stats.delays
        for entry in entries:
            if isinstance(entry, FrameEntry):
                delays.add(now_ms - entry.at_ms)
        if self._too_large:
            self._too_large.difference_update(entry.number for entry in entries)

    def _take_back(self, place: Place, error: BaseException) -> None:
        """Keep a refused batch for the next producer; a frame too large for the broker is replaced by its gap."""
        entries = self._outbox.take_back(place)
        self._broken = True
        log.warning("publish.refused", topic=place[0], partition=place[1], error=_name(error))
        if not isinstance(error, MessageSizeTooLargeError):
            self._renew_pause_s = RENEW_PAUSE_S
        elif len(entries) > 1:
            self._batch_bytes_max[place[0]] = sum(entry.cost_bytes for entry in entries) // 2
        else:
            self._give_up(place, entries[0])

    def _give_up(self, place: Place, entry: Entry) -> None:
        """Let the broker have the marks of a gap instead of a frame that it refuses to hold."""
        if isinstance(entry, FrameEntry) and entry.number not in self._too_large:
            self._too_large.add(entry.number)
        else:
            self._too_large.discard(entry.number)
            self._outbox.drop_first(place)
            if isinstance(entry, FrameEntry):
                return  # told of already
        self._stats.refused += 1
        log.error(
            "publish.frame_refused",
            topic=place[0],
            bytes=len(entry.payload),
            remedy="raise the topic's max.message.bytes",
        )

    def _gap(self, entry: Entry) -> Sequence[Entry]:
        """Return what stands where a frame stood that the broker refuses to hold.

        A `down`: the connection's next mark, a moment later, begins anew with the channels that it has.
        """
        assert isinstance(entry, FrameEntry)
        mark = feed_mark(
            *("down", entry.at_ms, entry.at_ms - 1, entry.connection.decode(), [entry.channel.decode()]),
            group=self._settings.redundant_group,
            why=f"the broker refused a frame of {len(entry.payload)} bytes",
        )
        return [mark]

    # The producer

    async def _started(self) -> AIOKafkaProducer:
        settings = self._settings
        producer = make_producer(settings.bootstrap, settings.batch_bytes_max, settings.request_timeout_ms)
        try:
            await producer.start()
            for topic in (*settings.topics.raw, settings.topics.dead_letters):
                self._know_partitions(topic, await producer.partitions_for(topic))
        except BaseException:
            await close_producer(producer)
            raise
        return producer

    async def _renew(self) -> None:
        """Replace the producer, as nothing is in flight; tried until it works, as a broker may be away."""
        await self._close_producer()
        await asyncio.sleep(self._renew_pause_s)
        self._renew_pause_s = RENEW_PAUSE_S
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                self._producer = await self._started()
        except (TimeoutError, KafkaError) as error:
            log.warning("publish.no_broker", error=_name(error), retry_in_s=RENEW_PAUSE_S)
            return
        self._broken, self._renew_pause_s = False, 0.0
        self._stats.renewals += 1
        self.wake()
        log.info("publish.renewed")

    async def _wait(self, moved: bool) -> None:
        """Wait for something to do, and a little longer, so that batches fill."""
        idle = (self._sent_at_s or self._broken or not self._outbox) and not self._backlog.is_readable
        if idle and not self._is_done() and (not moved or self._buffer.await_entry()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._woken.wait()
        # What waited for an acknowledgement of its partition has had its time to fill a batch.
        ready = bool(self._outbox.ready())
        await asyncio.sleep(0 if ready and not self._broken else self._settings.linger_ms / 1000)
        if self._homeless and self._producer is not None:
            log.warning("publish.topic_missing", remedy="make it again with 'coinglass-streams topics'")
            self._producer.client.force_metadata_update()
            await asyncio.sleep(RENEW_PAUSE_S)
        self._look_for_stall()

    def _look_for_stall(self) -> None:
        waiting_s = time.monotonic() - min(self._sent_at_s.values()) if self._sent_at_s else 0.0
        stalled = waiting_s >= STALLED_AFTER_S
        if stalled and not self._stalled:
            log.warning("publish.stalled", seconds=round(waiting_s), buffer_bytes=self._buffer.used_bytes)
        elif self._stalled and not stalled:
            log.info("publish.resumed", buffer_bytes=self._buffer.used_bytes)
        self._stalled = stalled


def _append(batch: Any, entry: Entry) -> bool:
    """Add an entry to a batch of aiokafka's; False if it does not fit."""
    key, headers = _key_and_headers(entry)
    return batch.append(timestamp=entry.at_ms, key=key, value=entry.payload, headers=headers) is not None


def _append_all(batch: Any, entries: Iterable[Entry]) -> bool:
    return all(_append(batch, entry) for entry in entries)


def _key_and_headers(entry: Entry) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    if isinstance(entry, MarkEntry):
        return MARK_KEY, list(entry.headers)
    number = [(HEADER_CONNECTION, entry.connection), (HEADER_SEQUENCE, b"%d" % entry.sequence)]
    if isinstance(entry, FrameEntry):
        return entry.channel, number
    return None, [
        (HEADER_REASON, entry.reason.encode()),
        (HEADER_DETAIL, entry.detail.encode("utf-8", "replace")),
        (HEADER_RECORDS, msgspec.json.encode([])),
        (HEADER_SOURCE_TIMESTAMP, b"%d" % entry.at_ms),
        *number,
    ]


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
