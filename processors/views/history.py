"""Finals that the tables hold no more, read from their topics.

A final bears the time at which the record was received that closed its window, and the topics know where a time begins:

    finals     ──┬────────────────────┬───────────────────────────┬──────────▶
          from + size - 1 min         to                to + delays + 1 min
                 ├─────── read, and what starts in [from, to) kept ──────────┤

No final comes before its window's end by more than a record may be ahead of its receipt. After it, it comes as soon as
anything is heard again, and what was silent longer than the delays comes with what is heard first.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition

from broker.admin import connected, partition_counts
from processors.aggregates import Aggregate
from processors.engine.committed_reader import started_reader
from processors.pipeline import AHEAD_MS_MAX
from processors.settings import GRACE_MS_MAX
from processors.views.parameters import Range
from processors.views.problems import BadRequestError, BusyError
from processors.windows import WindowSize
from schemas.codec import decode_plain
from schemas.errors import OperationError
from schemas.topics import Topics

log = structlog.get_logger(__name__)

#: Windows in one answer; answers that are kept, and windows in all of them.
ANSWER_WINDOWS_MAX = 50_000
KEPT_MAX, KEPT_WINDOWS_MAX = 500, 50_000
WAITING_MAX = 16  # requests
SECONDS_MAX = 15.0  # of one request, waiting included
RECORDS_AT_ONCE = 2_000  # decoded before others get their turn in the worker's loop
#: How long after a window's end its final is received at the latest, while the feed is heard.
DELAYS_MS_MAX = 2 * GRACE_MS_MAX
AFTER_SILENCE_MS = 60_000

#: What the decoder raises for bytes that are no value of the schema.
UNREADABLE = (ValueError, TypeError, AssertionError, EOFError, IndexError)

Final = dict[str, Any]


class Selection(NamedTuple):
    """Whose finals are asked for."""

    aggregate: Aggregate
    name: tuple[str, ...]  # empty for all
    holds: Callable[[bytes], bool]  # whether a record's key is one of them
    key: bytes | None = None  # where it is one alone, its key


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a topic, and up to where."""

    finals: list[Final]
    ends: Mapping[TopicPartition, int]
    from_the_beginning: bool
    closed: bool  # whether all there will ever be in the range is there


class FinalsHistory:
    """Reads finals, one request at a time: all share one consumer."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._bootstrap, self._topics = bootstrap, topics
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._waiting = 0
        self._partitions: dict[str, int] = {}
        self._kept: OrderedDict[tuple[Any, ...], _Read] = OrderedDict()
        self._kept_windows = 0

    async def between(self, selection: Selection, sizes: Iterable[WindowSize], within: Range) -> list[Final]:
        """Return all finals that start in the range, as the routes show windows."""
        async with self._alone() as consumer:
            reads = [await self._read(consumer, selection, size, within) for size in sizes]
        return [final for read in reads for final in read.finals]

    async def newest_before(self, selection: Selection, size: WindowSize, before_ms: int, count: int) -> list[Final]:
        """Return each channel's newest `count` finals, or more, that start before a moment: or all there are."""
        async with self._alone() as consumer:
            span_ms = count * size.ms
            while True:
                within = Range(max(0, before_ms - span_ms), before_ms)
                read = await self._read(consumer, selection, size, within)
                found = Counter(map(channel_of, read.finals)).values()
                if (found and min(found) >= count) or read.from_the_beginning or within.from_ms == 0:
                    return read.finals
                span_ms *= 4

    async def gaps(self) -> list[dict[str, Any]]:
        """Return all gaps of the feed that were told."""
        topic = self._topics.feed_gaps
        async with self._alone() as consumer:
            tps = await self._partitions_of(topic)
            ends = await consumer.end_offsets(tps) if tps else {}
            kept = self._kept.get((topic,))
            if kept is None or kept.ends != ends:
                records = _records(consumer, dict.fromkeys(tps, 0), ends, {})
                gaps = [_decoded("feed_gap", record) async for record in records]
                kept = self._keep((topic,), _Read([gap for gap in gaps if gap is not None], ends, True, False))
            return kept.finals

    async def close(self) -> None:
        """Leave the broker."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    # -- inside --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Yield the consumer to one request after the other."""
        if self._waiting >= WAITING_MAX:
            raise BusyError("too many requests are waiting for older finals")
        self._waiting += 1
        try:
            async with asyncio.timeout(SECONDS_MAX), self._reading:
                try:
                    if self._consumer is None:
                        self._consumer = await started_reader(
                            self._bootstrap, fetch_max_wait_ms=100, request_timeout_ms=5_000, retry_backoff_ms=5
                        )
                    yield self._consumer
                except (KafkaError, OperationError) as error:
                    await self.close()
                    raise BusyError("the broker does not answer, and older finals are read from it") from error
        except TimeoutError as error:
            raise BusyError(
                f"reading older finals would take longer than {SECONDS_MAX:.0f} s: ask for less, or later",
                retry_after_seconds=5,
            ) from error
        finally:
            self._waiting -= 1

    async def _read(self, consumer: AIOKafkaConsumer, selection: Selection, size: WindowSize, within: Range) -> _Read:
        topic = selection.aggregate.topic(self._topics, size.name)
        tps = await self._partitions_of(topic, selection.key)
        ends = await consumer.end_offsets(tps) if tps else {}
        about = (topic, selection.name, within)
        kept = self._kept.get(about)
        if kept is not None and (kept.closed or kept.ends == ends):
            self._kept.move_to_end(about)
            return kept
        starts, from_the_beginning = await _starts(consumer, tps, within.from_ms + size.ms - AHEAD_MS_MAX)
        finals: dict[tuple[bytes, bytes], Final] = {}  # what was published again, byte for byte, is the same final
        horizons = {tp: _Horizon(within.to_ms + size.ms + DELAYS_MS_MAX) for tp in starts}
        async for record in _records(consumer, starts, ends, horizons):
            if record.key is not None and selection.holds(record.key):
                final = _decoded(selection.aggregate.schema, record)
                if final is not None and within.holds(final["window_start"]):
                    finals[record.key, record.value] = {**final, "window": size.name, "final": True}
                    if len(finals) > ANSWER_WINDOWS_MAX:
                        raise BadRequestError(
                            f"that is more than {ANSWER_WINDOWS_MAX} windows: name one asset or market, one window, "
                            "or a shorter range"
                        )
        closed = len(horizons) == len(tps) > 0 and all(horizon.passed for horizon in horizons.values())
        return self._keep(about, _Read(list(finals.values()), ends, from_the_beginning, closed))

    def _keep(self, about: tuple[Any, ...], read: _Read) -> _Read:
        replaced = self._kept.pop(about, None)
        self._kept[about] = read
        self._kept_windows += len(read.finals) - (len(replaced.finals) if replaced else 0)
        while len(self._kept) > KEPT_MAX or self._kept_windows > KEPT_WINDOWS_MAX:
            _, dropped = self._kept.popitem(last=False)
            self._kept_windows -= len(dropped.finals)
        return read

    async def _partitions_of(self, topic: str, key: bytes | None = None) -> list[TopicPartition]:
        """Return a topic's partitions, or the one that a key's records are in; none of a topic that is not there."""
        if topic not in self._partitions:
            async with connected(self._bootstrap) as client:
                counts = await partition_counts(client, [topic])
            if topic not in counts:
                return []
            self._partitions.update(counts)
        numbers = list(range(self._partitions[topic]))
        if key is not None:
            numbers = [DefaultPartitioner()(key, numbers, numbers)]
        return [TopicPartition(topic, number) for number in numbers]


def channel_of(window: Final) -> Any:
    """Return what tells apart the channels of one asset's or one market's windows: a market's smallest volume."""
    return window.get("min_vol_usd")


def _decoded(schema: str, record: Any) -> Final | None:
    """Return a record's value; None where it is none of ours, which must not keep the others from being read."""
    try:
        return decode_plain(schema, record.value)
    except UNREADABLE as error:
        log.warning("history.unreadable_record", schema=schema, offset=record.offset, error=repr(error))
        return None


class _Horizon:
    """Tells when a partition has been read far enough: past a time, and past what was told first after it."""

    def __init__(self, at_ms: int) -> None:
        self.passed = False
        self._at_ms = at_ms
        self._stop_ms: int | None = None

    def look(self, timestamp_ms: int) -> bool:
        """Look at a record's time; returns whether it lies beyond."""
        if self._stop_ms is None and timestamp_ms > self._at_ms:
            self._stop_ms = timestamp_ms + AFTER_SILENCE_MS
        self.passed = self._stop_ms is not None and timestamp_ms > self._stop_ms
        return self.passed


async def _starts(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], from_ms: int
) -> tuple[dict[TopicPartition, int], bool]:
    """Return from where on records bear a time or a later one, and whether nothing at all comes before."""
    if not tps:
        return {}, True
    beginnings = await consumer.beginning_offsets(tps)
    if from_ms <= 0:
        return beginnings, True
    found = await consumer.offsets_for_times(dict.fromkeys(tps, from_ms))
    starts = {tp: at.offset for tp, at in found.items() if at is not None}
    return starts, starts == beginnings


async def _records(
    consumer: AIOKafkaConsumer,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    horizons: Mapping[TopicPartition, _Horizon],
) -> AsyncIterator[Any]:
    """Yield what stands between, or up to the horizons."""
    behind = {tp for tp, start in starts.items() if start < ends[tp]}
    if not behind:
        return
    consumer.assign(list(behind))
    for tp in behind:
        consumer.seek(tp, starts[tp])
    try:
        while behind:
            fetched = await consumer.getmany(*behind, timeout_ms=100, max_records=RECORDS_AT_ONCE)
            for tp, records in fetched.items():
                for record in records:
                    if tp in horizons and horizons[tp].look(record.timestamp):
                        behind.discard(tp)
                        break
                    yield record
            behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
            await asyncio.sleep(0)
    finally:
        consumer.unsubscribe()  # it would go on fetching
