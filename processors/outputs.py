"""What the step publishes for one raw partition, each kind as its topic holds it. Pure.

final   a closed window               {prefix}.liquidation-volume.1m, {prefix}.trade-imbalance.1m, …
late    a record after its window     {prefix}.late
gap     time that nobody heard        {prefix}.feed-gaps
letter  what could not be counted     {prefix}.dead-letters
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from processors.aggregates import AGGREGATES
from processors.coverage import Gap
from processors.engine.step import Headers, Result, SourceRecord
from processors.frames import FrameRecord, Rejected
from processors.open_windows import Window
from processors.windows import WindowSize
from schemas import topics as names
from schemas.codec import Encoder
from schemas.topics import Topics


class Outputs:
    """Results in their order, until they are taken; `counts` are of each kind, and only grow."""

    def __init__(self, topics: Topics, encoder: Callable[[str], Encoder], topic: str, partition: int) -> None:
        self.counts: Counter[str] = Counter()
        self._topics, self._topic, self._partition = topics, topic, partition
        self._encode_final = {a.name: encoder(a.schema) for a in AGGREGATES.values()}
        self._encode_late, self._encode_gap = encoder("late_record"), encoder("feed_gap")
        # Every partition is sent every mark, so one of all tells the gaps.
        self._tells_gaps = names.is_raw_liquidations(topic) and partition == 0
        self._results: list[Result] = []

    def take(self) -> list[Result]:
        """Return the results since the last call."""
        results, self._results = self._results, []
        return results

    def final(self, window: Window, coverage: float | None, at_ms: int) -> None:
        """Publish a window that was closed by a record received at `at_ms`."""
        of, aggregate = window.of, window.aggregate
        value = self._encode_final[aggregate.name](aggregate.value(of, window.totals, coverage))
        self._publish(aggregate.topic(self._topics, window.size.name), of.key.encode(), value, at_ms)
        self.counts["finals"] += 1

    def gap(self, gap: Gap, at_ms: int) -> None:
        """Publish a gap, if this partition is the one that does."""
        if self._tells_gaps:
            value = {"from": gap.from_ms, "to": gap.to_ms, "channels": gap.channels, "why": gap.why}
            self._publish(self._topics.feed_gaps, None, self._encode_gap(value), at_ms)
            self.counts["gaps"] += 1

    def late(
        self,
        record: SourceRecord,
        index: int,
        item: FrameRecord,
        channel: str,
        window: tuple[WindowSize, int],
        watermark_ms: int,
    ) -> None:
        """Publish a frame's record that came when its window, (size, start), was final."""
        size, start_ms = window
        value = {
            "channel": channel,
            "base_asset": item.baseAsset,
            "exchange": item.exName,
            "symbol": item.symbol,
            "price": item.price,
            "side": item.side,
            "time": item.time,
            "vol_usd": item.volUsd,
            "window_start": start_ms,
            "window_end": start_ms + size.ms,
            "watermark": watermark_ms,
            "topic": self._topic,
            "partition": self._partition,
            "offset": record.offset,
            "index": index,
        }
        self._publish(self._topics.late, channel.encode(), self._encode_late(value), record.timestamp)
        self.counts["late"] += 1

    def letter(self, record: SourceRecord, why: Rejected, indexes: Iterable[int] = ()) -> None:
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
        self._publish(self._topics.dead_letters, record.key, record.value, record.timestamp, encoded)
        self.counts[f"rejected/{why.reason}"] += 1

    def _publish(self, topic: str, key: bytes | None, value: bytes | None, at_ms: int, headers: Headers = ()) -> None:
        self._results.append(Result(topic, key, value, at_ms, headers))
