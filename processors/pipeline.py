"""The step that live workers and replays both run: records of one raw partition in, finals and state out. Pure.

No I/O, no clock, no threads: what comes out depends on the records and their order alone, never on how they were
batched. Everything is decided record by record:

    watermark   highest event time seen less the grace, or a mark's time less the mark delay; it never goes back
    late        a record is late for a window whose end the watermark had reached when the record was met
    closing     when the watermark reaches windows' ends, their finals go out, ordered by (window start, key)
"""

from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from processors.aggregates import AGGREGATES, Totals
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
    decode_mark,
    decode_plain_frame,
    decode_unusual_frame,
    why_bad,
)
from processors.money import MICROS_PER_USD
from processors.open_windows import Lane, OpenWindows, Slot, Window
from processors.rows import (
    WindowKey,
    counts_key,
    coverage_key,
    decode_counts,
    decode_window,
    encode_counts,
    encode_window,
    parse_window_key,
    watermark_key,
    window_key,
)
from processors.windows import WindowSize
from schemas import topics as names
from schemas.codec import Encoder, encoder, single_object_header
from schemas.errors import UsageError
from schemas.topics import MARK_KEY, Topics

#: A record further ahead of its own receive time is wrong, not early.
AHEAD_MS_MAX = 60_000

#: Closed windows that the table keeps per size, and in all, for the views.
CLOSED_WINDOWS_KEPT = 60
CLOSED_ROWS_KEPT = 5_000

_NO_WATERMARK_MS = -(2**62)
_NOTHING_BAD: Mapping[int, str] = MappingProxyType({})


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


class PartitionPipeline:
    """The state of one raw partition and the step over it; implements `engine.step.Step`."""

    def __init__(self, settings: PipelineSettings, topic: str, partition: int) -> None:
        self.watermark_ms = _NO_WATERMARK_MS
        self._settings, self._topic, self._partition = settings, topic, partition
        self._encoders = {a.name: settings.encoder(a.schema) for a in AGGREGATES.values()}
        self._encode_late = settings.encoder("late_record")
        self._coverage = Coverage()
        self._coverage_changed = False
        self._open = OpenWindows(settings.windows)
        self._closed: deque[WindowKey] = deque()  # in the order of their closing
        self._changed: list[Window] = []
        self._rows: dict[bytes, bytes | None] = {}
        self._results: list[Result] = []
        self._counts: Counter[str] = Counter()
        self._frames = self._records = 0

    @property
    def counts(self) -> Counter[str]:
        """What grows only, for metrics and the dashboard; counted since the state began, over restarts.

        frames, records, unknown-fields, marks, late, finals, rejected/{reason} and connections (the `up` marks).
        """
        return self._counts + Counter(frames=self._frames, records=self._records)

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
        counts = decode_counts(rows.get(counts_key(self._partition), b"{}"))
        self._frames, self._records = counts.pop("frames", 0), counts.pop("records", 0)
        self._counts.update(counts)
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

    def _reopen(self, of: WindowKey, totals: Totals) -> None:
        aggregate = AGGREGATES[of.aggregate]
        lane = self._open.lane(aggregate.channel_of(of.key))
        assert lane is not None
        (slot,) = (slot for slot in self._open.slots(lane, of.key) if slot.size.ms == of.size_ms)
        self._open.put(Window(of, aggregate, slot.size, totals), slot)

    def take(self) -> Changes:
        """Return the rows and results since the last call."""
        self._open.forget_idle_keys()
        for window in self._changed:
            if window.changed:  # it may have been closed meanwhile, and its row with it
                window.changed = False
                self._rows[window_key(self._partition, window.of)] = encode_window(False, None, window.totals)
        self._changed.clear()
        if self._coverage_changed:
            self._coverage_changed = False
            self._rows[coverage_key(self._partition)] = encode_coverage(self._coverage)
        self._rows[watermark_key(self._partition)] = msgspec.json.encode(
            (self.watermark_ms, self._settings.fingerprint)
        )
        self._rows[counts_key(self._partition)] = encode_counts(self.counts)
        rows, self._rows = self._rows, {}
        results, self._results = self._results, []
        return Changes(rows, results)

    def flush(self, at_ms: int) -> list[Result]:
        """Return the finals that the open windows would have as they stand, and close them: a replay's last call."""
        self._raise_watermark(-_NO_WATERMARK_MS, at_ms)
        return self.take().results

    # -- records -------------------------------------------------------------------------------------------------

    # The hot path is one loop, with what it needs at hand: a call for each frame made it a tenth slower.
    def process(self, records: Iterable[SourceRecord]) -> None:  # noqa: C901
        """Take records in the order of their offsets."""
        grace_ms, lanes = self._settings.grace_ms, self._open.lanes
        highest_ms = self.watermark_ms + grace_ms
        changed = self._changed
        frames = items = 0
        for record in records:
            bad = _NOTHING_BAD
            if record.key == MARK_KEY:
                self._process_mark(record)
                highest_ms = self.watermark_ms + grace_ms
                continue
            frames += 1
            try:
                frame: Frame = decode_plain_frame(record.value)
            except (TypeError, *UNDECODABLE):  # TypeError: the record has no value at all
                unusual = self._decode_unusual(record)
                if unusual is None:
                    continue
                frame, bad = unusual
            lane = lanes.get(frame.channel) or self._open.lane(frame.channel)
            if lane is None:
                self._reject(record, Rejected(UNKNOWN_CHANNEL, f"no such channel: {frame.channel[:200]!r}"))
                continue
            data = frame.data
            items += len(data)
            slots_of, keyed_by_asset, key = lane.slots, lane.aggregate.keyed_by_asset, lane.channel
            time_ms_max = record.timestamp + AHEAD_MS_MAX
            ahead = False
            for item in _without(data, bad) if bad else data:
                time_ms = item.time
                if time_ms > time_ms_max:
                    ahead = True
                    continue
                micros = round(item.volUsd * MICROS_PER_USD)
                if keyed_by_asset:
                    key = item.baseAsset
                for slot in slots_of.get(key) or self._open.slots(lane, key):
                    if not slot.start_ms <= time_ms < slot.end_ms and not self._turn(lane, slot, record, frame, item):
                        continue
                    window: Any = slot.window  # there is one: the slot was turned to it
                    window.totals.add(item, micros)
                    if not window.changed:
                        window.changed = True
                        changed.append(window)
                if time_ms > highest_ms:
                    highest_ms = time_ms
                    self._raise_watermark(time_ms - grace_ms, record.timestamp)
            if bad:
                self._reject(record, Rejected(BAD_RECORD, next(iter(bad.values()))), bad)
            if ahead:
                self._reject_ahead(record, frame, bad)
        self._frames += frames
        self._records += items

    def _decode_unusual(self, record: SourceRecord) -> tuple[Frame, Mapping[int, str]] | None:
        decoded = decode_unusual_frame(record.value)
        if isinstance(decoded, Rejected):
            self._reject(record, decoded)
            return None
        frame, unknown_fields = decoded
        self._counts["unknown-fields"] += unknown_fields
        reasons = {index: why_bad(item) for index, item in enumerate(frame.data)}
        return frame, {index: why for index, why in reasons.items() if why is not None}

    def _process_mark(self, record: SourceRecord) -> None:
        mark = decode_mark(record.value)
        if isinstance(mark, Rejected):
            self._reject(record, mark)
            return
        if mark.at_ms > record.timestamp + AHEAD_MS_MAX:
            self._reject(record, Rejected(FUTURE_TIME, f"at_ms is {mark.at_ms - record.timestamp} ms ahead"))
            return
        self._counts["marks"] += 1
        self._counts["connections"] += mark.kind == "up"
        self._coverage.add(mark)
        self._coverage_changed = True
        if mark.at_ms - self._settings.mark_delay_ms > self.watermark_ms:
            self._raise_watermark(mark.at_ms - self._settings.mark_delay_ms, record.timestamp)
        self._coverage.forget(self.watermark_ms - max(size.ms for size in self._settings.windows))

    # -- windows -------------------------------------------------------------------------------------------------

    def _turn(self, lane: Lane, slot: Slot, record: SourceRecord, frame: Frame, item: FrameRecord) -> bool:
        """Turn the slot to the window that holds the record's time; False if that window is final already."""
        start_ms = slot.size.start_of(item.time)
        if start_ms + slot.size.ms <= self.watermark_ms:
            self._emit_late(record, frame, item, start_ms, slot.size)
            return False
        of = WindowKey(lane.aggregate.name, slot.size.ms, start_ms, slot.key)
        window = self._open.find(of) or Window(of, lane.aggregate, slot.size, lane.aggregate.totals.of(item))
        self._open.put(window, slot)
        return True

    def _raise_watermark(self, watermark_ms: int, at_ms: int) -> None:
        """Raise it, as of when the record was received that says so, and publish what it closes."""
        self.watermark_ms = watermark_ms
        if watermark_ms >= self._open.next_close_ms:
            for window in self._open.close(watermark_ms):
                self._emit_final(window, at_ms)
                self._closed.append(window.of)
            self._forget_closed()

    def _forget_closed(self) -> None:
        def outlived(window: WindowKey) -> bool:
            return window.end_ms + CLOSED_WINDOWS_KEPT * window.size_ms <= self.watermark_ms

        while self._closed and (len(self._closed) > CLOSED_ROWS_KEPT or outlived(self._closed[0])):
            self._rows[window_key(self._partition, self._closed.popleft())] = None

    # -- results -------------------------------------------------------------------------------------------------

    def _emit_final(self, window: Window, at_ms: int) -> None:
        of, aggregate = window.of, window.aggregate
        coverage = self._coverage.share(aggregate.channel_of(of.key), of.start_ms, of.end_ms)
        if coverage is None and self._settings.assume_coverage:
            coverage = 1.0
        value = aggregate.value(of, window.totals, coverage)
        topic = aggregate.topic(self._settings.topics, window.size.name)
        self._emit(topic, of.key.encode(), self._encoders[aggregate.name](value), at_ms)
        self._rows[window_key(self._partition, of)] = encode_window(True, coverage, window.totals)
        window.changed = False
        self._counts["finals"] += 1

    def _emit_late(
        self, record: SourceRecord, frame: Frame, item: FrameRecord, start_ms: int, size: WindowSize
    ) -> None:
        value = {
            "channel": frame.channel,
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
            "index": next(index for index, other in enumerate(frame.data) if other is item),
        }
        self._emit(self._settings.topics.late, frame.channel.encode(), self._encode_late(value), record.timestamp)
        self._counts["late"] += 1

    def _reject_ahead(self, record: SourceRecord, frame: Frame, bad: Mapping[int, str]) -> None:
        """Reject a frame for its records that are too far ahead of when it was received."""
        ahead_ms = {index: item.time - record.timestamp for index, item in enumerate(frame.data) if index not in bad}
        ahead_ms = {index: ms for index, ms in ahead_ms.items() if ms > AHEAD_MS_MAX}
        detail = f"time is {next(iter(ahead_ms.values()))} ms after it was received"
        self._reject(record, Rejected(FUTURE_TIME, detail), ahead_ms)

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
        self._counts[f"rejected/{why.reason}"] += 1

    def _emit(self, topic: str, key: bytes, value: bytes, at_ms: int) -> None:
        self._results.append(Result(topic, key, value, at_ms))


def _without(items: Iterable[FrameRecord], indexes: Container[int]) -> list[FrameRecord]:
    return [item for index, item in enumerate(items) if index not in indexes]
