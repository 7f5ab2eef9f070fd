"""The producer as a whole: topics, publisher, feed; and how it ends."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import structlog

from broker.admin import cluster_id, connected, ensure_topics
from producer.buffer import Buffer
from producer.channels_watch import ChannelsWatch
from producer.feed import Feed
from producer.metrics import Metrics, served
from producer.publish import Publisher
from producer.settings import ProducerSettings
from producer.spool_folder import SpoolFolder
from producer.stats import Stats
from schemas.errors import OperationError

log = structlog.get_logger(__name__)


def run(settings: ProducerSettings) -> None:
    """Produce until SIGTERM or SIGINT, then drain; a second signal leaves the rest to the next start."""
    asyncio.run(_until_signalled(settings))


async def _until_signalled(settings: ProducerSettings) -> None:
    stop, abandon = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (abandon if stop.is_set() else stop).set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, signalled)
    try:
        await produce(settings, stop, abandon)
    finally:
        # The loop's handlers end before the process does: a signal that comes then must not end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


async def produce(
    settings: ProducerSettings, stop: asyncio.Event, abandon: asyncio.Event | None = None, stats: Stats | None = None
) -> None:
    """Produce until `stop` is set, then drain: everything received is acknowledged when this returns, or in the spool.

    The spool has the rest if the drain takes longer than `drain_timeout_ms`, or `abandon` is set. Raises OperationError
    if no broker answers at the start, if the feed refuses the key, and if something is lost; it says how much.
    """
    stats = stats or Stats()
    loop = asyncio.get_running_loop()
    buffer = Buffer(settings.buffer_bytes_max, lambda: loop.call_soon_threadsafe(publisher.wake))
    metrics = Metrics(stats, buffer)
    publisher = Publisher(settings, buffer, stats, observe_ack_s=metrics.ack_seconds.observe)
    with served(metrics, settings.metrics_port):
        try:
            if not await _unless_stopped(_prepare(settings, publisher), stop):
                return
            await _feed_to_kafka(settings, buffer, publisher, stats, stop, abandon or asyncio.Event())
        finally:
            await publisher.close()


async def _prepare(settings: ProducerSettings, publisher: Publisher) -> None:
    async with connected(settings.bootstrap) as admin:
        made = (await ensure_topics(admin, settings.topics.raw_specs())).made
        cluster = await cluster_id(admin)
    if made:
        log.info("producer.topics_made", topics=",".join(made))
    spools = SpoolFolder(settings.spool_dir, settings.topics.prefix, cluster, settings.spool_bytes_max)
    await publisher.start(spools if settings.spool_bytes_max else None)


async def _feed_to_kafka(
    settings: ProducerSettings,
    buffer: Buffer,
    publisher: Publisher,
    stats: Stats,
    stop: asyncio.Event,
    abandon: asyncio.Event,
) -> None:
    """Run feed and publisher until stopped, or one of them ends; then drain, and raise what ended them."""
    loop = asyncio.get_running_loop()
    feed_ended = asyncio.Event()

    def tell_end() -> None:
        with suppress(RuntimeError):  # an attempt to connect may outlive the loop
            loop.call_soon_threadsafe(feed_ended.set)

    feed = Feed(settings, buffer, stats, tell_end)
    watching = asyncio.create_task(_follow_file(settings, feed), name="channels")
    watching.add_done_callback(lambda _: feed_ended.set())
    publishing = asyncio.create_task(publisher.run(), name="publish")
    publishing.add_done_callback(lambda _: feed_ended.set())
    feed.start()
    log.info("producer.started", url=settings.place, broker=settings.bootstrap, channels=len(settings.channels))
    try:
        await _first_of(stop, feed_ended)
        await _cancelled(watching)
        feed.stop()
        await asyncio.to_thread(feed.wait_until_done)
        log.info("producer.draining", buffer_bytes=buffer.used_bytes, frames=stats.frames)
        publisher.finish()
        await _drained(publishing, abandon, settings.drain_timeout_ms / 1000)
        publishing.cancel()
        await asyncio.wait([publishing])
        publisher.keep()
        if not publishing.cancelled():
            publishing.result()  # raises what ended it, if it was not us
        _tell_what_is_left(publisher, settings)
        if feed.error is not None:
            raise feed.error
        if not watching.cancelled():
            watching.result()  # it ends by a failure only
    finally:
        await _cancelled(watching)
        feed.stop()
        await _cancelled(publishing)
    log.info("producer.stopped", frames=stats.frames, published=stats.published, dropped=stats.dropped.total())


async def _follow_file(settings: ProducerSettings, feed: Feed) -> None:
    """Let the feed follow the channels file, for ever."""
    if settings.channels_file is None:
        await asyncio.Event().wait()
        return
    watch = ChannelsWatch(settings.channels_file, settings.channels)
    while True:
        await asyncio.sleep(settings.channels_looked_at_every_ms / 1000)
        channels = await asyncio.to_thread(watch.look)
        if channels is not None:
            feed.follow(channels)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def _tell_what_is_left(publisher: Publisher, settings: ProducerSettings) -> None:
    """Say what the broker did not take. Raises OperationError if it is not in the spool either."""
    if lost := publisher.left_in_memory_only:
        raise OperationError(
            f"{lost} entries were not published, and no spool took them: see that the broker at {settings.bootstrap} "
            f"runs, and that {settings.spool_dir} has room"
        )
    if left := publisher.left:
        log.warning(
            "producer.kept",
            records_at_most=left,
            folder=str(settings.spool_dir),
            remedy="the next start publishes them",
        )


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do the work; False if `stop` was set before it was done."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
        return False
    task.result()
    return True


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _drained(publishing: "asyncio.Task[None]", abandon: asyncio.Event, seconds_max: float) -> None:
    """Wait for the publisher's end, for so long at most, or until we are told not to."""
    abandoned = asyncio.create_task(abandon.wait())
    await asyncio.wait([publishing, abandoned], timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED)
    abandoned.cancel()
