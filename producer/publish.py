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
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from producer.buffer import Buffer
from producer.entries import DeadLetterEntry, Entry, FrameEntry, MarkEntry
from producer.kafka_client import close_producer, make_producer
from producer.marks import feed_mark
from producer.protocol import RawKind
from producer.settings import ProducerSettings
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

#: Entries taken from the buffer in one turn: the loop is never busy for long.
TAKE_ENTRIES_MAX = 5_000
#: A broker that acknowledged nothing for so long is worth a line.
STALLED_AFTER_S = 5.0
RENEW_PAUSE_S = 1.0
START_SECONDS_MAX = 15.0

#: Channels whose partition is remembered.
_PARTITIONS_KEPT_MAX = 4_096

Partition = tuple[str, int]

log = structlog.get_logger(__name__)


class Publisher:
    """Publishes what the buffer holds. `start`, then `run` until `finish`, then `close`; all in one loop."""

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
        self._letters = 0
        self._partitioner = DefaultPartitioner()
        self._producer: AIOKafkaProducer | None = None
        self._queues: dict[Partition, deque[Entry]] = {}
        self._in_flight: dict[Partition, float] = {}  # since when, monotonic seconds
        self._in_flight_entries = 0
        self._batch_bytes_max: dict[str, int] = {}  # learned from refusals: a topic may take less than a broker
        self._homeless = False
        self._broken = False
        self._renew_pause_s = 0.0
        self._finishing = False
        self._woken = asyncio.Event()
        self._stalled = False

    @property
    def left(self) -> int:
        """Entries that are not acknowledged; a mark counts once a partition."""
        return len(self._buffer) + sum(map(len, self._queues.values())) + self._in_flight_entries

    def wake(self) -> None:
        """Look at the buffer again; for the loop's own thread."""
        self._woken.set()

    async def start(self) -> None:
        """Connect, and learn the partitions. Raises OperationError if the broker does not serve us."""
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                self._producer = await self._started()
        except (TimeoutError, KafkaError) as error:
            raise OperationError(
                f"the Kafka broker at {self._settings.bootstrap} takes no producer: {type(error).__name__}; "
                "look at the broker's log"
            ) from error

    async def run(self) -> None:
        """Publish until `finish` was called and everything is acknowledged."""
        while not (self._finishing and self.left == 0):
            for entry in self._buffer.take(TAKE_ENTRIES_MAX):
                self._route(entry)
            if self._broken:
                await self._renew()
            else:
                await self._send_ready()
            await self._wait()

    def finish(self) -> None:
        """Let `run` return once everything is acknowledged; nothing is put into the buffer any more."""
        self._finishing = True
        self._woken.set()

    async def close(self) -> None:
        """Close the connections; what is still in flight is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer)

    # Where entries go

    def _route(self, entry: Entry) -> None:
        if isinstance(entry, FrameEntry):
            topic = self._topic_of[entry.kind]
            self._queue((topic, self._keyed(topic, entry.channel))).append(entry)
        elif isinstance(entry, DeadLetterEntry):
            topic = self._settings.topics.dead_letters
            partitions = self._partitions[topic]
            self._letters += 1
            self._queue((topic, partitions[self._letters % len(partitions)])).append(entry)
        else:
            places = [(topic, number) for topic in self._settings.topics.raw for number in self._partitions[topic]]
            entry.copies = len(places)
            for place in places:
                self._queue(place).append(entry)

    def _queue(self, place: Partition) -> deque[Entry]:
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = deque()
        return queue

    def _keyed(self, topic: str, key: bytes) -> int:
        number = self._partition_of.get(key)
        if number is None:
            if len(self._partition_of) >= _PARTITIONS_KEPT_MAX:
                self._partition_of.clear()
            partitions = self._partitions[topic]
            number = self._partition_of[key] = int(self._partitioner(key, partitions, partitions))
        return number

    def _look_at_partitions(self) -> None:
        """Take over what the client knows of the topics: a topic may be given more partitions while we run."""
        assert self._producer is not None
        cluster = self._producer.client.cluster
        for topic in (*self._settings.topics.raw, self._settings.topics.dead_letters):
            known = sorted(cluster.partitions_for_topic(topic) or ())
            if known and known != self._partitions.get(topic):
                self._partitions[topic] = known
                self._partition_of.clear()

    # Batches

    async def _send_ready(self) -> None:
        assert self._producer is not None
        self._look_at_partitions()
        cluster = self._producer.client.cluster
        self._homeless = False
        for place, queue in self._queues.items():
            if not queue or place in self._in_flight or self._broken:
                continue
            if place[1] in (cluster.partitions_for_topic(place[0]) or ()):
                await self._send(place, queue)
            else:
                self._homeless = True  # somebody deleted the topic

    async def _send(self, place: Partition, queue: deque[Entry]) -> None:
        """Hand one batch of the partition to aiokafka, which tries until the broker took or refused it."""
        assert self._producer is not None
        batch = self._producer.create_batch()
        entries: list[Entry] = []
        room_bytes = self._batch_bytes_max.get(place[0], self._settings.batch_bytes_max)
        while queue:
            entry = queue[0]
            room_bytes -= entry.cost_bytes
            if entries and room_bytes < 0:
                break
            key, headers = _key_and_headers(entry)
            if batch.append(timestamp=entry.at_ms, key=key, value=entry.payload, headers=headers) is None:
                break
            entries.append(queue.popleft())
        batch.close()
        try:
            acknowledged = await self._producer.send_batch(batch, place[0], partition=place[1])
        except KafkaError as error:  # not handed over
            queue.extendleft(reversed(entries))
            self._broken, self._renew_pause_s = True, RENEW_PAUSE_S
            log.warning("publish.refused", topic=place[0], partition=place[1], error=_name(error))
            return
        self._in_flight[place] = time.monotonic()
        self._in_flight_entries += len(entries)
        acknowledged.add_done_callback(lambda future: self._settle(place, entries, future))

    def _settle(self, place: Partition, entries: list[Entry], future: "asyncio.Future[Any]") -> None:
        """Let go of an acknowledged batch; put a refused one back where it was."""
        sent_at_s = self._in_flight.pop(place)
        self._in_flight_entries -= len(entries)
        self._woken.set()
        if future.cancelled():
            self._queues[place].extendleft(reversed(entries))
            return
        error = future.exception()
        if error is not None:
            self._take_back(place, entries, error)
            return
        self._observe_ack_s(time.monotonic() - sent_at_s)
        self._stats.published += len(entries)
        for entry in entries:
            self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        if isinstance(entry, MarkEntry):
            entry.copies -= 1
            if entry.copies > 0:
                return
        self._buffer.free(entry.cost_bytes)

    def _take_back(self, place: Partition, entries: list[Entry], error: BaseException) -> None:
        """Keep a refused batch for the next producer; an entry too large for the broker is replaced by its gap."""
        self._broken = True
        log.warning("publish.refused", topic=place[0], partition=place[1], error=_name(error))
        queue = self._queues[place]
        if not isinstance(error, MessageSizeTooLargeError):
            self._renew_pause_s = RENEW_PAUSE_S
        elif len(entries) == 1:
            entries = self._gap(place, entries[0])
        else:
            self._batch_bytes_max[place[0]] = sum(entry.cost_bytes for entry in entries) // 2
        queue.extendleft(reversed(entries))

    def _gap(self, place: Partition, entry: Entry) -> list[Entry]:
        """Return what stands where a frame stood that the broker refuses to hold.

        A `down`: the connection's next mark, a moment later, begins anew with the channels that it has.
        """
        self._stats.refused += 1
        log.error(
            "publish.frame_refused",
            topic=place[0],
            bytes=len(entry.payload),
            remedy="raise the topic's max.message.bytes",
        )
        self._let_go(entry)
        if not isinstance(entry, FrameEntry):
            return []
        mark = feed_mark(
            *("down", entry.at_ms, entry.at_ms - 1, entry.connection.decode(), [entry.channel.decode()]),
            group=self._settings.redundant_group,
            why=f"the broker refused a frame of {len(entry.payload)} bytes",
        )
        self._buffer.free(-mark.cost_bytes)
        return [mark]

    # The producer

    async def _started(self) -> AIOKafkaProducer:
        settings = self._settings
        producer = make_producer(settings.bootstrap, settings.batch_bytes_max, settings.request_timeout_ms)
        try:
            await producer.start()
            for topic in (*settings.topics.raw, settings.topics.dead_letters):
                self._partitions[topic] = sorted(await producer.partitions_for(topic))
        except BaseException:
            await close_producer(producer)
            raise
        return producer

    async def _renew(self) -> None:
        """Replace the producer once nothing is in flight; tried until it works, as a broker may be away."""
        if self._in_flight:
            return
        await self.close()
        await asyncio.sleep(self._renew_pause_s)
        self._renew_pause_s = RENEW_PAUSE_S
        try:
            self._producer = await self._started()
        except KafkaError as error:
            log.warning("publish.no_broker", error=_name(error), retry_in_s=RENEW_PAUSE_S)
            return
        self._broken, self._renew_pause_s = False, 0.0
        self._stats.renewals += 1
        log.info("publish.renewed")

    async def _wait(self) -> None:
        """Wait for something to do, and a little longer, so that batches fill."""
        self._woken.clear()
        idle = self._in_flight or not any(self._queues.values())
        if not (self._finishing and self.left == 0) and idle and self._buffer.await_entry():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._woken.wait()
        await asyncio.sleep(self._settings.linger_ms / 1000)
        if self._homeless and self._producer is not None:
            log.warning("publish.topic_missing", remedy="make it again with 'coinglass-streams topics'")
            self._producer.client.force_metadata_update()
            await asyncio.sleep(RENEW_PAUSE_S)
        self._look_for_stall()

    def _look_for_stall(self) -> None:
        waiting_s = time.monotonic() - min(self._in_flight.values()) if self._in_flight else 0.0
        stalled = waiting_s >= STALLED_AFTER_S
        if stalled and not self._stalled:
            log.warning("publish.stalled", seconds=round(waiting_s), buffer_bytes=self._buffer.used_bytes)
        elif self._stalled and not stalled:
            log.info("publish.resumed", buffer_bytes=self._buffer.used_bytes)
        self._stalled = stalled


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
