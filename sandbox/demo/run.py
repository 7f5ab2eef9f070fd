"""The demo's order: Kafka, topics, worker, feed, producer; watched together; and stopped the other way round."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from broker.admin import connected, ensure_topics
from sandbox.demo.children import Child
from sandbox.demo.finals import FinalsReader, reading_finals
from sandbox.demo.numbers import Numbers, combined, scrape
from sandbox.demo.screen import PlainScreen
from sandbox.demo.settings import CHANNELS, DemoSettings
from sandbox.kafka import EmbeddedKafka, KafkaSettings
from sandbox.simulate.server import FeedSettings, SimulatedFeed
from schemas.errors import OperationError
from schemas.topics import DEFAULT_PARTITIONS

#: How long a part may take to drain before it is killed; and where Kafka is gone, so that there is nothing to drain to.
STOP_SECONDS_MAX = 20.0
STOP_SECONDS_MAX_WITHOUT_KAFKA = 2.0

_SCRAPE_EVERY_S = 1.0


class Demo:
    """Runs once; call it from the main thread, as the children are tied to it."""

    def __init__(self, settings: DemoSettings, screen: PlainScreen) -> None:
        self.settings = settings
        self.screen = screen
        self._stop_seconds_max = STOP_SECONDS_MAX

    async def run(self) -> None:
        """Run until cancelled, or for `settings.seconds` from when all is started; stops everything before it returns.

        Raises OperationError where a part does not start, or ends by itself.
        """
        settings, note = self.settings, self.screen.note
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        note(f"logs and data: {settings.data_dir}")
        note("starting Kafka; the first time it is downloaded, which takes about 20 s")
        kafka = EmbeddedKafka(KafkaSettings(settings.ports.kafka, settings.data_dir / "kafka"))
        async with AsyncExitStack() as parts:
            await parts.enter_async_context(kafka)
            await self._make_topics(kafka.bootstrap)
            finals = await parts.enter_async_context(
                reading_finals(kafka.bootstrap, settings.topics, settings.windows, DEFAULT_PARTITIONS)
            )
            worker = self._worker(kafka.bootstrap)
            parts.push_async_callback(self._stop, worker)
            await worker.start()
            feed = SimulatedFeed(
                FeedSettings(
                    port=settings.ports.feed, rate_per_s=settings.rate_per_s, seed=settings.seed, faults=settings.faults
                )
            )
            await parts.enter_async_context(feed)
            producer = self._producer(kafka.bootstrap, feed.url)
            parts.push_async_callback(self._stop, producer)
            await producer.start()
            note(f"started: Kafka at {kafka.bootstrap}, the feed at {feed.url}, producer and worker")
            parts.callback(note, "stopping: producer, feed, worker, Kafka")
            await self._watch(
                self._kafka_lives(kafka),
                worker.run_until_death(),
                producer.run_until_death(),
                feed.failed(),
                self._show_finals(finals),
                self._show_numbers(),
                self._time_passes(),
            )
        note("stopped")

    async def _make_topics(self, bootstrap: str) -> None:
        topics = self.settings.topics
        async with connected(bootstrap) as client:
            await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs(self.settings.windows)])

    def _worker(self, bootstrap: str) -> Child:
        settings = self.settings
        flags = ["--broker", bootstrap, "--topic-prefix", settings.topics.prefix, "--app-id", "coinglass-demo"]
        flags += ["--state-dir", str(settings.data_dir / "state"), "--grace", "5s", "--mark-delay", "10s"]
        for window in settings.windows:
            flags += ["--window", window.text]
        flags += ["--web-host", "127.0.0.1", "--web-port", str(settings.ports.web)]
        return Child("process", flags, settings.log_dir / "process.log")

    def _producer(self, bootstrap: str, url: str) -> Child:
        settings = self.settings
        flags = ["--broker", bootstrap, "--topic-prefix", settings.topics.prefix, "--url", url]
        for channel in CHANNELS:
            flags += ["--channel", channel]
        flags += ["--metrics-port", str(settings.ports.metrics), "--spool-dir", str(settings.data_dir / "spool")]
        return Child("produce", flags, settings.log_dir / "produce.log")

    async def _stop(self, child: Child) -> None:
        await child.stop(self._stop_seconds_max)

    async def _watch(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run all until the first ends, and raise what ended it; of several at once, the one named first."""
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _kafka_lives(self, kafka: EmbeddedKafka) -> None:
        try:
            await kafka.run_until_death()
        except OperationError:
            self._stop_seconds_max = STOP_SECONDS_MAX_WITHOUT_KAFKA
            raise

    async def _show_finals(self, finals: FinalsReader) -> None:
        while True:
            self.screen.finals(await finals.next())

    async def _show_numbers(self) -> None:
        numbers, told = Numbers(), False
        while True:
            producer, worker = await asyncio.gather(
                scrape(self.settings.ports.metrics), scrape(self.settings.ports.web)
            )
            numbers = combined(producer, worker, numbers, time.monotonic())
            if numbers.ready and not told:
                told = True
                self.screen.note(f"dashboard: {self.settings.dashboard}")
            self.screen.numbers(numbers)
            await asyncio.sleep(_SCRAPE_EVERY_S)

    async def _time_passes(self) -> None:
        if self.settings.seconds is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self.settings.seconds)
