"""The feed as a whole: its channels spread over connections, each with a thread of its own, all into one buffer."""

from collections.abc import Callable, Sequence

import structlog

from producer.buffer import Buffer
from producer.feed_thread import FeedThread
from producer.settings import ProducerSettings
from producer.spread import spread
from producer.stats import FeedStats, Stats

log = structlog.get_logger(__name__)


class Feed:
    """Reads the feed into the buffer until `stop`; for one thread to hold.

    `ended` is called when one of the feed's threads is over, from that thread: by its failure if `error` then holds it.
    """

    def __init__(
        self, settings: ProducerSettings, buffer: Buffer, stats: Stats, ended: Callable[[], object] = lambda: None
    ) -> None:
        self._settings = settings
        self._buffer = buffer
        self._stats = stats
        self._ended = ended
        self._threads: list[FeedThread] = []
        self._leaving: list[FeedThread] = []  # without channels: told to stop, and not seen to have ended

    @property
    def error(self) -> BaseException | None:
        """What ended a thread, if it was not by our wish."""
        return next((thread.error for thread in (*self._threads, *self._leaving) if thread.error), None)

    def start(self) -> None:
        """Begin."""
        self.follow(self._settings.channels)

    def follow(self, channels: Sequence[str]) -> None:
        """Take these channels, at least one: connections stay, and are told what changed; some open, some close."""
        self._leaving = [thread for thread in self._leaving if thread.alive or thread.error]
        held = [thread.channels for thread in self._threads]
        wanted = spread(channels, held, self._settings.channels_per_connection)
        staying = []
        for thread, now in zip(self._threads, wanted[: len(held)], strict=True):
            if now:
                thread.follow(now)
                staying.append(thread)
            else:
                thread.stop("no channel was left to the connection")
                self._leaving.append(thread)
        self._threads = staying
        for opened in wanted[len(held) :]:
            thread = FeedThread(opened, self._settings, self._buffer, self._part(), self._ended)
            self._threads.append(thread)
            thread.start()
        log.info("feed.channels", channels=sum(map(len, wanted)), connections=len(self._threads))

    def stop(self) -> None:
        """Ask for the end: subscriptions are taken back and connections closed."""
        for thread in self._threads:
            thread.stop("the producer was stopped")

    def wait_until_done(self) -> None:
        """Return once nothing more will come into the buffer; after `stop`. An attempt to connect is not awaited."""
        for thread in (*self._threads, *self._leaving):
            thread.wait_until_done()

    def _part(self) -> FeedStats:
        """Return counters for a new thread: those of one that has ended, or more."""
        taken = [thread.stats for thread in (*self._threads, *self._leaving)]
        for part in self._stats.parts:
            if not any(part is each for each in taken):
                part.refused_channels, part.quiet_channels, part.silences_ms = 0, 0, {}
                return part
        self._stats.parts.append(FeedStats())
        return self._stats.parts[-1]
