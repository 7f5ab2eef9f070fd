"""Writes a storm's raw records to Kafka at a steady rate, through whatever happens to the broker.

It may write a frame twice or not at all when a broker dies: what must come out is computed from what stands in the
raw topics afterwards.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.fault.frames import Feed, RawRecord

TICK_SECONDS = 0.01
CATCH_UP_SECONDS_MAX = 2.0  # what is written at once, at most, when the broker is back
STOP_SECONDS_MAX = 5.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Writer:
    """Writes frames and marks until it is told to stop."""

    def __init__(self, bootstrap: str, feed: Feed, rate: float) -> None:
        self.frames = self.producers = 0
        self._bootstrap, self._feed, self._rate = bootstrap, feed, rate
        self._producer: AIOKafkaProducer | None = None
        self._failed = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Write until `stop`."""
        loop = asyncio.get_running_loop()
        due, last, next_marks = 0.0, loop.time(), loop.time()
        while not self._stopping.is_set():
            now = loop.time()
            due, last = min(due + (now - last) * self._rate, CATCH_UP_SECONDS_MAX * self._rate), now
            if now >= next_marks:
                next_marks = max(next_marks + 1.0, now)
                await self._write(self._feed.marks(now_ms()))
            count = int(due)
            due -= count
            await self._write(self._feed.frame(now_ms()) for _ in range(count))
            self.frames += count
            await asyncio.sleep(TICK_SECONDS)

    async def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    async def write_closing(self) -> None:
        """Write what closes every window, surely, and let go of Kafka."""
        await self._let_go()
        records = list(self._feed.closing(now_ms()))
        async with asyncio.timeout(60):
            while True:
                producer = await self._get_producer()
                try:
                    for record in records:
                        await producer.send_and_wait(
                            record.topic,
                            record.value,
                            key=record.key,
                            partition=record.partition,
                            timestamp_ms=record.timestamp_ms,
                        )
                    break
                except KafkaError:
                    await self._let_go()
        self.frames += len(records)
        await self._let_go()

    async def _write(self, records: Iterable[RawRecord]) -> None:
        for record in records:
            if self._failed:
                await self._let_go()
            producer = await self._get_producer()
            try:
                sent = await producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                )
            except KafkaError:
                self._failed = True
            else:
                sent.add_done_callback(self._on_sent)

    def _on_sent(self, sent: "asyncio.Future[object]") -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._failed = True

    async def _get_producer(self) -> AIOKafkaProducer:
        while self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=2, request_timeout_ms=20_000
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(0.2)
            else:
                self._producer, self._failed = producer, False
                self.producers += 1
        return self._producer

    async def _let_go(self) -> None:
        producer, self._producer, self._failed = self._producer, None, False
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await producer.stop()
