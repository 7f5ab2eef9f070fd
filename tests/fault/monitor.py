"""Watches the results while the storm goes on: when did each source partition's results flow, and when not?"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from schemas.topics import Topics
from tests.fault.sources import Source, result_partitions, source_of

#: A killed worker's last commit can still be on its way to us for so long; no other resumes so soon.
LAST_COMMIT_SECONDS = 0.3


class Gap(NamedTuple):
    """A time without results of a source partition; it began `at_seconds` after what was asked about."""

    seconds: float
    at_seconds: float
    source: Source


class Monitor:
    """Notes when committed results came, by source partition; times are of the monotonic clock."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self.seen = 0
        self._bootstrap, self._topics = bootstrap, topics
        self._came: dict[Source, list[float]] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        try:
            consumer.assign(result_partitions(self._topics))
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=100)
                except KafkaError:
                    await asyncio.sleep(0.1)
                    continue
                now = time.monotonic()
                for source in {source_of(r, self._topics) for records in fetched.values() for r in records}:
                    self._came.setdefault(source, []).append(now)
                self.seen += sum(map(len, fetched.values()))
        finally:
            await consumer.stop()

    def resumed_after(self, at: float, sources: Iterable[Source]) -> float | None:
        """Return how many seconds after `at` results of all the sources had come again; None if never."""
        nexts = [self._next_after(source, at + LAST_COMMIT_SECONDS) for source in sources]
        return None if None in nexts else max((n for n in nexts if n is not None), default=at) - at

    def longest_gap(self, began: float, ended: float, sources: Iterable[Source] | None = None) -> float:
        """Return the longest time between two results of one source partition, in seconds."""
        gaps = [gap.seconds for gap in self.gaps(began, ended, sources)]
        return max(gaps, default=0.0)

    def gaps(self, began: float, ended: float, sources: Iterable[Source] | None = None) -> list[Gap]:
        """Return the longest gap of each source partition, the longest first."""
        found = []
        for source in self._came if sources is None else sources:
            times = [began, *(t for t in self._came.get(source, []) if began <= t <= ended), ended]
            found.append(max(Gap(after - before, before - began, source) for before, after in pairwise(times)))
        return sorted(found, reverse=True)

    def _next_after(self, source: Source, at: float) -> float | None:
        times = self._came.get(source, [])
        place = bisect_right(times, at)
        return times[place] if place < len(times) else None
