"""One raw partition of a replay: the worker's own step over its records, and which of its results count. Pure.

Receive time is taken as the highest up to a record in its partition, so that a range is one stretch of the log even
where clocks went back.

    log        ──────┬────────────┬──────────────────────┬──────▶
                 warm-up        from                     to
    results          none          those in the range      none

The warm-up rebuilds what the live worker knew at `from`: a record lies at most AHEAD_MS_MAX ahead of its receive time,
so all that falls into a window which begins at `from` or later is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from processors.engine.step import Result, SourceRecord
from processors.pipeline import AHEAD_MS_MAX, PartitionPipeline
from processors.replay.kinds import final_kinds, is_dead_letter
from processors.replay.ordered import BEFORE_ALL, Place, Replayed
from processors.replay.settings import ReplaySettings
from schemas.channels import LIQUIDATIONS, canonical_name
from schemas.codec import decode_plain

#: How long before `from` reading begins. Marks come once a second, so the connections that are up are known by then.
WARM_UP_MS = 15 * AHEAD_MS_MAX

Records = Sequence[SourceRecord]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the reading of a partition begins; `cut` where records before it were not read or are gone."""

    topic: str
    partition: int
    cut: bool = False


class ReplayedPartition:
    """Feeds one partition's records to its pipeline, and places what comes out."""

    def __init__(self, settings: ReplaySettings, origin: Origin) -> None:
        self.step = PartitionPipeline(settings.pipeline, origin.topic, origin.partition)
        self.frames = 0  # records that were taken
        self.ended = False  # nothing that follows can be in the range
        self._settings, self._origin, self._range = settings, origin, settings.range
        self._finals, self._topics = final_kinds(settings.pipeline), settings.pipeline.topics
        self._channels = frozenset(map(canonical_name, settings.channels))
        self._received_ms = BEFORE_ALL[0]  # the highest receive time so far
        self._whole_from_ms: int | None = None if origin.cut else BEFORE_ALL[0]

    @property
    def frontier(self) -> Place:
        """The place that all further results stand at, or after."""
        return self._place(self._received_ms)

    def apply(self, records: Records) -> list[Replayed]:
        """Take records in the order of their offsets, and return the results that count."""
        if not records:
            return []
        if self._whole_from_ms is None:
            self._whole_from_ms = records[0].timestamp + AHEAD_MS_MAX
        replayed: list[Replayed] = []
        for stretch, received_ms in _stretches(self._before_the_end(records), self._received_ms):
            self.frames += len(stretch)
            self.step.process(stretch)
            results = self.step.take().results
            for result in results:
                at_ms = result.timestamp_ms if received_ms is None else received_ms
                self._keep(replayed, result, at_ms)
            self._received_ms = stretch[-1].timestamp if received_ms is None else received_ms
        to_ms = self._range.to_ms
        if self._range.clock == "event" and to_ms is not None and self.step.watermark_ms >= to_ms:
            self.ended = True
        return replayed

    def finish(self) -> list[Replayed]:
        """Return, where they are asked for, the windows that are open at the end; they are partial."""
        self.ended = True
        if not self._settings.flush:
            return []
        replayed: list[Replayed] = []
        for result in self.step.flush(self._received_ms):
            self._keep(replayed, result, self._received_ms, open_at_end=True)
        return replayed

    def _before_the_end(self, records: Records) -> Records:
        """Return the records before `to`; what is received first at `to` or later ends the range."""
        to_ms = self._range.to_ms
        if to_ms is None or self._range.clock == "event" or max(r.timestamp for r in records) < to_ms:
            return records
        self.ended = True
        return records[: next(index for index, record in enumerate(records) if record.timestamp >= to_ms)]

    def _keep(self, replayed: list[Replayed], result: Result, at_ms: int, *, open_at_end: bool = False) -> None:
        kind = self._finals.get(result.topic)
        value: dict[str, Any] = kind.read(result) if kind is not None else {}
        if not (self._in_range(result, value, at_ms) and self._wanted(result, value)):
            return
        partial = kind is not None and (open_at_end or self._is_cut(value))
        replayed.append(Replayed(self._place(at_ms), result, partial))

    def _in_range(self, result: Result, value: dict[str, Any], at_ms: int) -> bool:
        if self._range.clock == "receive":
            return self._range.holds(at_ms)
        if value:
            return self._range.overlaps(value["window_start"], value["window_end"])
        if is_dead_letter(result) or result.value is None:
            return self._range.holds(at_ms)
        if result.topic == self._topics.feed_gaps:
            gap = decode_plain("feed_gap", result.value)
            return self._range.overlaps(gap["from"], gap["to"])
        late: int = decode_plain("late_record", result.value)["time"]
        return self._range.holds(late)

    def _is_cut(self, value: dict[str, Any]) -> bool:
        """Whether an edge of the range, or of what is left of the log, cuts a window."""
        assert self._whole_from_ms is not None
        start_ms, end_ms = value["window_start"], value["window_end"]
        if self._range.clock == "event" and not self._range.covers(start_ms, end_ms):
            return True
        from_ms = self._range.from_ms
        return start_ms < self._whole_from_ms or (from_ms is not None and start_ms < from_ms)

    def _wanted(self, result: Result, value: dict[str, Any]) -> bool:
        channels, assets = self._channels, self._settings.assets
        if not channels and not assets:
            return True
        if result.topic == self._topics.feed_gaps and result.value is not None:
            missed = decode_plain("feed_gap", result.value)["channels"]
            return not channels or not channels.isdisjoint(missed)
        key = (result.key or b"").decode(errors="replace")
        if channels and (LIQUIDATIONS if "asset" in value else key) not in channels:
            return False
        if not assets:
            return True
        if not value and not is_dead_letter(result) and result.value is not None:
            value = decode_plain("late_record", result.value)
        return value.get("asset", value.get("base_asset")) in assets

    def _place(self, at_ms: int) -> Place:
        return at_ms, self._origin.topic, self._origin.partition


def _stretches(records: Records, highest_ms: int) -> Iterator[tuple[Records, int | None]]:
    """Split records so that in each stretch receive times never go back, or all lie below the highest before them.

    With the latter comes that highest time, which they are taken to be received at; with the former None.
    """
    times_ms = [record.timestamp for record in records]
    if not times_ms:
        return
    if times_ms[0] >= highest_ms and sorted(times_ms) == times_ms:  # nearly always
        yield records, None
        return
    highest = list(accumulate(times_ms, max, initial=highest_ms))[1:]
    begin = 0
    while begin < len(times_ms):
        forward = times_ms[begin] == highest[begin]
        end = begin + 1
        while end < len(times_ms) and (times_ms[end] == highest[end]) == forward:
            end += 1
        yield records[begin:end], None if forward else highest[begin]
        begin = end
