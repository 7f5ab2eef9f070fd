"""The step that live workers and replays both run: records of one raw partition in, finals and state out. Pure.

No I/O, no clock, no threads: what comes out depends on the records and their order alone, never on how they were
batched. Everything is decided record by record:

    watermark   highest event time seen less the grace, or a mark's time less the mark delay; it never goes back
    late        a record is late for a window whose end the watermark had reached when the record was met
    closing     when the watermark reaches windows' ends, their finals go out, ordered by (window start, key)
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from processors.aggregates import AGGREGATES, Totals
from processors.coverage import WITHOUT_A_WORD, Coverage, decode_coverage, encode_coverage
from processors.doubles import Doubles
from processors.engine.step import Changes, Result, SourceRecord
from processors.frames import (
    BAD_RECORD,
    FUTURE_TIME,
    UNKNOWN_CHANNEL,
    Frame,
    FrameRecord,
    Rejected,
    decode_mark,
    decode_plain_frame,
    decode_renamed_frame,
    decode_unusual_frame,
    why_bad,
)
from processors.money import MICROS_PER_USD
from processors.open_windows import Lane, OpenWindows, Slot, Window
from processors.outputs import Outputs
from processors.rows import (
    WindowKey,
    counts_key,
    coverage_key,
    decode_counts,
    decode_window,
    doubles_key,
    encode_counts,
    encode_window,
    parse_doubles_key,
    parse_window_key,
    watermark_key,
    window_key,
)
from processors.windows import WindowSize
from schemas import topics as names
from schemas.codec import Encoder, encoder, single_object_header
from schemas.drift import DriftCounts
from schemas.errors import UsageError
from schemas.topics import MARK_KEY, Topics
from schemas.untrusted_json import UNDECODABLE

#: A record further ahead of its own receive time is wrong, not early.
AHEAD_MS_MAX = 60_000

#: What the table keeps of each size for the views: windows of one key, and of all keys together.
CLOSED_WINDOWS_KEPT = 60
CLOSED_ROWS_KEPT = 10_000

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
        self._settings, self._partition = settings, partition
        self._out = Outputs(settings.topics, settings.encoder, topic, partition)
        self._coverage = Coverage()
        self._coverage_changed = False
        self._doubles = Doubles(settings.windows)
        self._decode = decode_plain_frame  # whichever spelling was met last
        self._open = OpenWindows(settings.windows)
        self._closed: dict[int, deque[WindowKey]] = {size.ms: deque() for size in settings.windows}  # as they closed
        self._changed: list[Window] = []
        self._rows: dict[bytes, bytes | None] = {}
        self._counts = self._out.counts
        self.drift = DriftCounts()
        self._frames = self._records = 0

    @property
    def counts(self) -> Counter[str]:
        """What grows only, for metrics and the dashboard; counted since the state began, over restarts.

        frames, records, unknown-fields, doubles, marks, late, gaps, finals, rejected/{reason} and connections (the `up`
        marks).
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
            self._doubles.follow(self._coverage.spans)
        closed: list[WindowKey] = []
        for row_key, row in rows.items():
            stretch_ms, window = parse_doubles_key(row_key), parse_window_key(row_key)
            if stretch_ms is not None:
                self._doubles.restore(stretch_ms, row)
            if window is not None:
                final, _, totals = decode_window(row, AGGREGATES[window.aggregate].totals)
                if final:
                    closed.append(window)
                else:
                    self._reopen(window, totals)
        for window in sorted(closed, key=lambda w: w.closing_order):
            self._closed[window.size_ms].append(window)

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
        for stretch_ms, row in self._doubles.take(self.watermark_ms):
            self._rows[doubles_key(self._partition, stretch_ms)] = row
        self._rows[watermark_key(self._partition)] = msgspec.json.encode(
            (self.watermark_ms, self._settings.fingerprint)
        )
        self._rows[counts_key(self._partition)] = encode_counts(self.counts)
        rows, self._rows = self._rows, {}
        return Changes(rows, self._out.take())

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
        changed, doubles_possible, decode = self._changed, self._doubles.possible, self._decode
        frames = items = 0
        for record in records:
            bad = _NOTHING_BAD
            if record.key == MARK_KEY:
                self._process_mark(record)
                highest_ms, doubles_possible = self.watermark_ms + grace_ms, self._doubles.possible
                continue
            frames += 1
            try:
                frame: Frame = decode(record.value)
            except (TypeError, *UNDECODABLE):  # TypeError: the record has no value at all
                unusual = self._decode_again(record)
                decode = self._decode
                if unusual is None:
                    continue
                frame, bad = unusual
            lane = lanes.get(frame.channel) or self._open.lane(frame.channel)
            if lane is None:
                self._out.letter(record, Rejected(UNKNOWN_CHANNEL, f"no such channel: {frame.channel[:200]!r}"))
                continue
            data = frame.data
            items += len(data)
            slots_of, keyed_by_asset, key = lane.slots, lane.aggregate.keyed_by_asset, lane.channel
            time_ms_max = record.timestamp + AHEAD_MS_MAX
            ahead = False
            if bad:
                data = [item for index, item in enumerate(data) if index not in bad]
            if doubles_possible:
                data = self._first_heard(record, lane.channel, data)
            for item in data:
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
                self._out.letter(record, Rejected(BAD_RECORD, next(iter(bad.values()))), bad)
            if ahead:
                self._out.letter(record, *_ahead(record, frame, bad))
        self._frames += frames
        self._records += items

    def _decode_again(self, record: SourceRecord) -> tuple[Frame, Mapping[int, str]] | None:
        """Read a frame that is not plain in the spelling of the one before it; its bad records by their index."""
        other = decode_plain_frame if self._decode is decode_renamed_frame else decode_renamed_frame
        with suppress(TypeError, *UNDECODABLE):
            frame = other(record.value)
            self._decode = other
            return frame, _NOTHING_BAD
        self.drift.add(record.value or b"")
        decoded = decode_unusual_frame(record.value)
        if isinstance(decoded, Rejected):
            self._out.letter(record, decoded)
            return None
        frame, unknown_fields = decoded
        self._counts["unknown-fields"] += unknown_fields
        reasons = {index: why_bad(item) for index, item in enumerate(frame.data)}
        return frame, {index: why for index, why in reasons.items() if why is not None}

    def _first_heard(self, record: SourceRecord, channel: str, items: Sequence[FrameRecord]) -> Sequence[FrameRecord]:
        """Return the items that no other connection of a redundant group brought before."""
        time_ms_max = record.timestamp + AHEAD_MS_MAX
        ahead = [item for item in items if item.time > time_ms_max]  # rejected, each time they come
        on_time = [item for item in items if item.time <= time_ms_max] if ahead else items
        connection = _header(record, names.HEADER_CONNECTION)
        first = self._doubles.first_heard(channel, on_time, connection, self.watermark_ms)
        self._counts["doubles"] += len(on_time) - len(first)
        return [*first, *ahead]

    def _process_mark(self, record: SourceRecord) -> None:
        mark = decode_mark(record.value)
        if isinstance(mark, Rejected):
            self._out.letter(record, mark)
            return
        if mark.at_ms > record.timestamp + AHEAD_MS_MAX:
            self._out.letter(record, Rejected(FUTURE_TIME, f"at_ms is {mark.at_ms - record.timestamp} ms ahead"))
            return
        self._counts["marks"] += 1
        self._counts["connections"] += mark.kind == "up"
        group, why = _header(record, names.HEADER_GROUP), _header(record, names.HEADER_WHY)
        self._coverage.add(mark, group, why or WITHOUT_A_WORD)
        self._coverage_changed = True
        for gap in self._coverage.gaps(mark.at_ms - self._settings.mark_delay_ms):
            self._out.gap(gap, record.timestamp)
        if mark.at_ms - self._settings.mark_delay_ms > self.watermark_ms:
            self._raise_watermark(mark.at_ms - self._settings.mark_delay_ms, record.timestamp)
        # A record that falls into an open window may have been heard so long before the window began.
        self._coverage.forget(self.watermark_ms - max(size.ms for size in self._settings.windows) - AHEAD_MS_MAX)
        self._doubles.follow(self._coverage.spans)

    # -- windows -------------------------------------------------------------------------------------------------

    def _turn(self, lane: Lane, slot: Slot, record: SourceRecord, frame: Frame, item: FrameRecord) -> bool:
        """Turn the slot to the window that holds the record's time; False if that window is final already."""
        start_ms = slot.size.start_of(item.time)
        if start_ms + slot.size.ms <= self.watermark_ms:
            index = next(index for index, other in enumerate(frame.data) if other is item)
            self._out.late(record, index, item, lane.channel, (slot.size, start_ms), self.watermark_ms)
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
                self._close(window, at_ms)
            self._forget_closed()

    def _forget_closed(self) -> None:
        def outlived(window: WindowKey) -> bool:
            return window.end_ms + CLOSED_WINDOWS_KEPT * window.size_ms <= self.watermark_ms

        for closed in self._closed.values():
            while closed and (len(closed) > CLOSED_ROWS_KEPT or outlived(closed[0])):
                self._rows[window_key(self._partition, closed.popleft())] = None

    def _close(self, window: Window, at_ms: int) -> None:
        of = window.of
        coverage = self._coverage.share(window.aggregate.channel_of(of.key), of.start_ms, of.end_ms)
        if coverage is None and self._settings.assume_coverage:
            coverage = 1.0
        self._out.final(window, coverage, at_ms)
        self._rows[window_key(self._partition, of)] = encode_window(True, coverage, window.totals)
        self._closed[of.size_ms].append(of)
        window.changed = False


def _header(record: SourceRecord, name: str) -> str:
    """Return a header's text, empty where there is none."""
    return next((value.decode(errors="replace") for key, value in record.headers if key == name and value), "")


def _ahead(record: SourceRecord, frame: Frame, bad: Mapping[int, str]) -> tuple[Rejected, Iterable[int]]:
    """Return why records are rejected that are too far ahead of when they were received, and which they are."""
    ahead_ms = {index: item.time - record.timestamp for index, item in enumerate(frame.data) if index not in bad}
    ahead_ms = {index: ms for index, ms in ahead_ms.items() if ms > AHEAD_MS_MAX}
    return Rejected(FUTURE_TIME, f"time is {next(iter(ahead_ms.values()))} ms after it was received"), ahead_ms
