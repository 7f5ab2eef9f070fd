"""The step that live workers and replays both run: records of one raw partition in, finals and state out. Pure.

No I/O, no clock, no threads: what comes out depends on the records and their order alone, never on how they were
batched. Everything is decided record by record:

    watermark   highest event time seen less the grace, or a mark's time less the mark delay; it never goes back
    late        a record is late for a window whose end the watermark had reached when the record was met
    closing     when the watermark reaches windows' ends, their finals go out, ordered by (window start, key)
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from processors.aggregates import AGGREGATES, Aggregate, Totals, aggregate_for
from processors.coverage import Coverage, decode_coverage, encode_coverage
from processors.engine.step import Changes, Headers, Result, SourceRecord
from processors.frames import (
    BAD_RECORD,
    FUTURE_TIME,
    UNDECODABLE,
    UNKNOWN_CHANNEL,
    Frame,
    FrameRecord,
    Rejected,
    decode_known_frame,
    decode_mark,
    decode_unusual_frame,
    why_bad,
)
from processors.money import MICROS_PER_USD
from processors.rows import (
    WindowKey,
    coverage_key,
    decode_window,
    encode_window,
    parse_window_key,
    watermark_key,
    window_key,
)
from processors.windows import WindowSize
from schemas import topics as names
from schemas.channels import parse_channel
from schemas.codec import Encoder, encoder, single_object_header
from schemas.errors import UsageError
from schemas.topics import MARK_KEY, Topics

#: A record further ahead of its own receive time is wrong, not early.
AHEAD_MS_MAX = 60_000

#: Closed windows that the table keeps per size, and in all, for the views.
CLOSED_WINDOWS_KEPT = 60
CLOSED_ROWS_KEPT = 5_000

_NEVER_MS = 2**63
_NO_WATERMARK_MS = -(2**62)


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What decides the results, besides the records."""

    topics: Topics
    windows: tuple[WindowSize, ...]
    grace_ms: int = 5_000
    mark_delay_ms: int = 10_000
    assume_coverage: bool = False
    headers: Mapping[str, bytes] = field(default_factory=dict)  # schema -> bytes before its values; else single-object

    @property
    def fingerprint(self) -> str:
        """What must stay the same for a state to be taken up again."""
        sizes = ",".join(str(size.ms) for size in sorted(self.windows, key=lambda w: w.ms))
        return (
            f"prefix={self.topics.prefix} windows={sizes} grace={self.grace_ms} "
            f"mark-delay={self.mark_delay_ms} assume-coverage={self.assume_coverage}"
        )

    def encoder(self, schema: str) -> Encoder:
        """Return the encoder of a schema's values, in the framing that was asked for."""
        return encoder(schema, self.headers.get(schema) or single_object_header(schema))


@dataclass(slots=True, eq=False)
class _Window:
    """An open window."""

    id: WindowKey
    aggregate: Aggregate
    size: WindowSize
    totals: Totals
    slot: "_Slot"
    changed: bool = False


@dataclass(slots=True, eq=False)
class _Slot:
    """The window that records of one key and size fell into last: a record costs one comparison, not a look-up."""

    key: str
    size: WindowSize
    start_ms: int = 0
    end_ms: int = 0  # no time lies in [0, 0): a slot without a window is never hit
    window: _Window | None = None

    def turn_to(self, window: _Window) -> None:
        """Take the records of this window from now on."""
        self.start_ms, self.end_ms, self.window = window.id.start_ms, window.id.end_ms, window
        window.slot = self

    def clear(self) -> None:
        """Hold no window."""
        self.start_ms, self.end_ms, self.window = 0, 0, None


@dataclass(slots=True, eq=False)
class _Lane:
    """What a channel's records belong to, and the slots of its keys."""

    name: str
    aggregate: Aggregate
    slots: dict[str, list[_Slot]] = field(default_factory=dict)


class PartitionPipeline:
    """The state of one raw partition and the step over it; implements `engine.step.Step`.

    `counts` grows only, for metrics: frames, records, unknown-fields, marks, late, finals, rejected/{reason} and
    connections (the `up` marks).
    """

    def __init__(self, settings: PipelineSettings, topic: str, partition: int) -> None:
        self.counts: Counter[str] = Counter()
        self.watermark_ms = _NO_WATERMARK_MS
        self._settings, self._topic, self._partition = settings, topic, partition
        self._encoders = {a.name: settings.encoder(a.schema) for a in AGGREGATES.values()}
        self._encode_late = settings.encoder("late_record")
        self._coverage = Coverage()
        self._coverage_changed = False
        self._lanes: dict[str, _Lane] = {}
        self._open: dict[WindowKey, _Window] = {}
        self._next_close_ms = _NEVER_MS  # the earliest end of an open window
        self._closed: deque[WindowKey] = deque()  # in the order of their closing
        self._idle_keys = False  # whether windows were closed since the last look for them
        self._changed: list[_Window] = []
        self._rows: dict[bytes, bytes | None] = {}
        self._results: list[Result] = []

    # -- state in and out ----------------------------------------------------------------------------------------

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """Take up the state from table rows; raises UsageError where it was made with other settings."""
        if watermark_key(self._partition) not in rows:
            return
        watermark_row = rows[watermark_key(self._partition)]
        self.watermark_ms, fingerprint = msgspec.json.decode(watermark_row, type=tuple[int, str])
        if fingerprint != self._settings.fingerprint:
            raise UsageError(
                f"the state of this --app-id was made with {fingerprint}, not {self._settings.fingerprint}: "
                "use the same settings, or a new --app-id"
            )
        coverage_row = rows.get(coverage_key(self._partition))
        if coverage_row is not None:
            self._coverage = decode_coverage(coverage_row)
        closed = []
        for row_key, row in rows.items():
            window = parse_window_key(row_key)
            if window is not None:
                final, _, totals = decode_window(row, AGGREGATES[window.aggregate].totals)
                if final:
                    closed.append(window)
                else:
                    self._reopen(window, totals)
        self._closed.extend(sorted(closed, key=lambda w: w.closing_order))

    def _reopen(self, id: WindowKey, totals: Totals) -> None:  # noqa: A002
        aggregate = AGGREGATES[id.aggregate]
        size = next(size for size in self._settings.windows if size.ms == id.size_ms)
        lane = self._lane(aggregate.channel_of(id.key))
        assert lane is not None
        slot = next(slot for slot in self._slots(lane, id.key) if slot.size is size)
        self._put(_Window(id, aggregate, size, totals, slot), slot)

    def take(self) -> Changes:
        """Return the rows and results since the last call."""
        if self._idle_keys:
            self._idle_keys = False
            self._forget_idle_keys()
        for window in self._changed:
            if window.changed:  # it may have been closed meanwhile, and its row with it
                window.changed = False
                self._rows[window_key(self._partition, window.id)] = encode_window(False, None, window.totals)
        self._changed.clear()
        if self._coverage_changed:
            self._coverage_changed = False
            self._rows[coverage_key(self._partition)] = encode_coverage(self._coverage)
        self._rows[watermark_key(self._partition)] = msgspec.json.encode(
            (self.watermark_ms, self._settings.fingerprint)
        )
        rows, self._rows = self._rows, {}
        results, self._results = self._results, []
        return Changes(rows, results)

    # -- records -------------------------------------------------------------------------------------------------

    def process(self, records: Iterable[SourceRecord]) -> None:
        """Take records in the order of their offsets."""
        for record in records:
            if record.key == MARK_KEY:
                self._process_mark(record)
                continue
            try:
                frame: Frame = decode_known_frame(record.value)
            except (TypeError, *UNDECODABLE):  # TypeError: the record has no value at all
                self._process_unusual(record)
                continue
            self._process_frame(record, frame)

    def _process_unusual(self, record: SourceRecord) -> None:
        decoded = decode_unusual_frame(record.value)
        if isinstance(decoded, Rejected):
            self.counts["frames"] += 1
            self._reject(record, decoded)
            return
        frame, unknown_fields = decoded
        self.counts["unknown-fields"] += unknown_fields
        self._process_frame(record, frame)

    def _process_frame(self, record: SourceRecord, frame: Frame) -> None:
        self.counts["frames"] += 1
        lane = self._lanes.get(frame.channel) or self._lane(frame.channel)
        if lane is None:
            self._reject(record, Rejected(UNKNOWN_CHANNEL, f"no such channel: {frame.channel[:200]!r}"))
            return
        self.counts["records"] += len(frame.data)
        time_ms_max = record.timestamp + AHEAD_MS_MAX
        keyed_by_asset, grace_ms = lane.aggregate.keyed_by_asset, self._settings.grace_ms
        bad: dict[int, Rejected] = {}
        for index, item in enumerate(frame.data):
            why = why_bad(item)
            if why is not None:
                bad[index] = Rejected(BAD_RECORD, why)
                continue
            time_ms = item.time
            if time_ms > time_ms_max:
                bad[index] = Rejected(FUTURE_TIME, f"time is {time_ms - record.timestamp} ms after it was received")
                continue
            micros = round(item.volUsd * MICROS_PER_USD)
            key = item.baseAsset if keyed_by_asset else lane.name
            for slot in lane.slots.get(key) or self._slots(lane, key):
                if not slot.start_ms <= time_ms < slot.end_ms and not self._turn(lane, slot, record, index, item):
                    continue
                window = slot.window
                assert window is not None
                window.totals.add(item, micros)
                if not window.changed:
                    window.changed = True
                    self._changed.append(window)
            if time_ms - grace_ms > self.watermark_ms:
                self._raise_watermark(time_ms - grace_ms, record)
        for reason in (BAD_RECORD, FUTURE_TIME):
            indexes = [index for index, why in bad.items() if why.reason == reason]
            if indexes:
                self._reject(record, bad[indexes[0]], indexes)

    def _process_mark(self, record: SourceRecord) -> None:
        mark = decode_mark(record.value)
        if isinstance(mark, Rejected):
            self._reject(record, mark)
            return
        if mark.at_ms > record.timestamp + AHEAD_MS_MAX:
            self._reject(record, Rejected(FUTURE_TIME, f"at_ms is {mark.at_ms - record.timestamp} ms ahead"))
            return
        self.counts["marks"] += 1
        self.counts["connections"] += mark.kind == "up"
        self._coverage.add(mark)
        self._coverage_changed = True
        if mark.at_ms - self._settings.mark_delay_ms > self.watermark_ms:
            self._raise_watermark(mark.at_ms - self._settings.mark_delay_ms, record)
        self._coverage.forget(self.watermark_ms - max(size.ms for size in self._settings.windows))

    # -- windows -------------------------------------------------------------------------------------------------

    def _lane(self, channel_name: str) -> _Lane | None:
        channel = parse_channel(channel_name)
        if channel is None:
            return None
        lane = self._lanes[channel_name] = _Lane(channel_name, aggregate_for(channel))
        return lane

    def _slots(self, lane: _Lane, key: str) -> list[_Slot]:
        slots = lane.slots.get(key)
        if slots is None:
            slots = lane.slots[key] = [_Slot(key, size) for size in self._settings.windows]
        return slots

    def _turn(self, lane: _Lane, slot: _Slot, record: SourceRecord, index: int, item: FrameRecord) -> bool:
        """Turn the slot to the window that holds the record's time; False if that window is final already."""
        start_ms = slot.size.start_of(item.time)
        if start_ms + slot.size.ms <= self.watermark_ms:
            self._emit_late(record, index, item, lane, start_ms, slot.size)
            return False
        id = WindowKey(lane.aggregate.name, slot.size.ms, start_ms, slot.key)  # noqa: A001
        window = self._open.get(id)
        if window is None:
            window = _Window(id, lane.aggregate, slot.size, lane.aggregate.totals.of(item), slot)
        self._put(window, slot)
        return True

    def _put(self, window: _Window, slot: _Slot) -> None:
        self._open[window.id] = window
        self._next_close_ms = min(self._next_close_ms, window.id.end_ms)
        slot.turn_to(window)

    def _raise_watermark(self, watermark_ms: int, cause: SourceRecord) -> None:
        self.watermark_ms = watermark_ms
        if watermark_ms >= self._next_close_ms:
            self._close(cause)

    def _close(self, cause: SourceRecord) -> None:
        """Publish the windows whose end the watermark has reached, and forget what no open window can need."""
        due = [window for window in self._open.values() if window.id.end_ms <= self.watermark_ms]
        for window in sorted(due, key=lambda w: w.id.closing_order):
            del self._open[window.id]
            if window.slot.window is window:
                window.slot.clear()
            self._emit_final(window, cause)
            self._closed.append(window.id)
        self._next_close_ms = min((window.id.end_ms for window in self._open.values()), default=_NEVER_MS)
        self._idle_keys = True
        self._forget_closed()

    def _forget_closed(self) -> None:
        def outlived(window: WindowKey) -> bool:
            return window.end_ms + CLOSED_WINDOWS_KEPT * window.size_ms <= self.watermark_ms

        while self._closed and (len(self._closed) > CLOSED_ROWS_KEPT or outlived(self._closed[0])):
            self._rows[window_key(self._partition, self._closed.popleft())] = None

    def _forget_idle_keys(self) -> None:
        """Drop the slots of keys without a window: a key that is never seen again must not stay in memory.

        Only between batches, as a slot must stay the only one of its key while a frame is at work.
        """
        for lane in self._lanes.values():
            lane.slots = {k: slots for k, slots in lane.slots.items() if any(slot.window for slot in slots)}
        self._lanes = {name: lane for name, lane in self._lanes.items() if lane.slots}

    # -- results -------------------------------------------------------------------------------------------------

    def _emit_final(self, window: _Window, cause: SourceRecord) -> None:
        id, aggregate = window.id, window.aggregate  # noqa: A001
        coverage = self._coverage.share(aggregate.channel_of(id.key), id.start_ms, id.end_ms)
        if coverage is None and self._settings.assume_coverage:
            coverage = 1.0
        value = aggregate.value(id, window.totals, coverage)
        topic = aggregate.topic(self._settings.topics, window.size.name)
        self._emit(topic, id.key.encode(), self._encoders[aggregate.name](value), cause)
        self._rows[window_key(self._partition, id)] = encode_window(True, coverage, window.totals)
        window.changed = False
        self.counts["finals"] += 1

    def _emit_late(
        self, record: SourceRecord, index: int, item: FrameRecord, lane: _Lane, start_ms: int, size: WindowSize
    ) -> None:
        value = {
            "channel": lane.name,
            "base_asset": item.baseAsset,
            "exchange": item.exName,
            "symbol": item.symbol,
            "price": item.price,
            "side": item.side,
            "time": item.time,
            "vol_usd": item.volUsd,
            "window_start": start_ms,
            "window_end": start_ms + size.ms,
            "watermark": self.watermark_ms,
            "topic": self._topic,
            "partition": self._partition,
            "offset": record.offset,
            "index": index,
        }
        self._emit(self._settings.topics.late, lane.name.encode(), self._encode_late(value), record)
        self.counts["late"] += 1

    def _reject(self, record: SourceRecord, why: Rejected, indexes: Iterable[int] = ()) -> None:
        """Send a frame to the dead letters as it came, with what is wrong in the headers."""
        headers: dict[str, Any] = {
            names.HEADER_REASON: why.reason,
            names.HEADER_DETAIL: why.detail,
            names.HEADER_RECORDS: msgspec.json.encode(list(indexes)).decode(),
            names.HEADER_SOURCE_TOPIC: self._topic,
            names.HEADER_SOURCE_PARTITION: self._partition,
            names.HEADER_SOURCE_OFFSET: record.offset,
            names.HEADER_SOURCE_TIMESTAMP: record.timestamp,
        }
        encoded: Headers = tuple((name, str(value).encode(errors="replace")) for name, value in headers.items())
        self._results.append(
            Result(self._settings.topics.dead_letters, record.key, record.value, record.timestamp, encoded)
        )
        self.counts[f"rejected/{why.reason}"] += 1

    def _emit(self, topic: str, key: bytes, value: bytes, cause: SourceRecord) -> None:
        self._results.append(Result(topic, key, value, cause.timestamp))
