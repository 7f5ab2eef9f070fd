"""A thread that keeps one connection to the feed: opened, read, and opened again after a pause, until told to stop."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

import structlog

from producer.backoff import Backoff
from producer.buffer import Buffer
from producer.connection import TROUBLE, Connection, Orders, as_lost
from producer.dial import dial
from producer.feed_errors import ClosedByUsError, KeyRefusedError, LostError, RefusedError
from producer.feed_socket import FeedSocket
from producer.quiet import QuietChannels
from producer.settings import SET_KEY, ProducerSettings
from producer.stats import FeedStats
from schemas.errors import OperationError

log = structlog.get_logger(__name__)


class FeedThread:
    """Reads some channels into the buffer. `ended` is called from the thread when it is over."""

    def __init__(
        self,
        channels: Sequence[str],
        settings: ProducerSettings,
        buffer: Buffer,
        stats: FeedStats,
        ended: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._buffer = buffer
        self.stats = stats
        self._ended = ended
        self._orders = Orders(channels)
        self._quiet = QuietChannels(settings.quiet_after_ms, settings.never_heard_after_ms)
        self._thread = Thread(target=self._run, name="feed", daemon=True)  # a name look-up cannot be interrupted
        self._connected_before = False
        #: What ended the thread, if it was not `stop`.
        self.error: BaseException | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels as they should be."""
        return self._orders.channels

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def follow(self, channels: Sequence[str]) -> None:
        """Take other channels, at least one, without a new connection; at the next tick."""
        self._orders.channels = tuple(channels)

    def stop(self, why: str) -> None:
        """Ask for the end: the subscription is taken back and the connection closed."""
        self._orders.stop(why)

    def wait_until_done(self) -> None:
        """Return once nothing more will come into the buffer; after `stop`. An attempt to connect is not awaited."""
        while self._thread.is_alive() and self.stats.connected:
            self._thread.join(0.02)

    def _run(self) -> None:
        with self._carried():
            self._keep_connected()

    @contextmanager
    def _carried(self) -> Iterator[None]:
        """Carry any failure to the thread that looks at `error`, and tell it."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again by the service
            self.error = error
        finally:
            self._ended()

    def _keep_connected(self) -> None:
        settings, stopping = self._settings, self._orders.stopping
        backoff = Backoff(settings.backoff_first_ms, settings.backoff_ms_max, settings.healthy_after_ms)
        while not stopping.is_set():
            try:
                event, lost, heard_for_ms = self._one_connection()
            except ClosedByUsError:
                return
            except KeyRefusedError as refused:
                raise self._refusal(refused.status) from None
            fraction = random.random()  # noqa: S311 - jitter, not cryptography
            pause_ms = max(backoff.pause_ms(fraction, heard_for_ms), int(lost.hold_off_ms * (1 + fraction / 10)))
            level = log.error if isinstance(lost, RefusedError) else log.warning
            level(event, url=settings.place, error=str(lost), retry_in_ms=pause_ms)
            stopping.wait(pause_ms / 1000)

    def _one_connection(self) -> tuple[str, LostError, int]:
        """Connect and read until it is over; return the event, why, and for how many ms anything was heard."""
        settings, stats = self._settings, self.stats
        stats.attempts += 1
        try:
            socket = self._dialled()
        except TROUBLE as error:
            return "feed.unreachable", as_lost(error, settings.scrub), 0
        stats.reconnects += self._connected_before
        self._connected_before = True
        connection = Connection(socket, self._orders, settings, self._buffer, stats, self._quiet)
        began_s = time.monotonic()
        try:
            connection.run()
        except LostError as lost:
            lasted_ms = int((time.monotonic() - began_s) * 1000)  # heard_for_ms is by a clock that may have been set
            return "feed.lost", lost, min(lasted_ms, connection.heard_for_ms)

    def _dialled(self) -> FeedSocket:
        settings = self._settings
        opened, sock, rest = dial(settings.address(), settings.connect_timeout_ms / 1000)
        return FeedSocket(
            opened,
            sock,
            rest,
            message_bytes_max=settings.message_bytes_max,
            wait_s=min(settings.tick_every_ms, settings.mark_every_ms) / 1000,
        )

    def _refusal(self, status: int) -> OperationError:
        place = self._settings.place
        if self._settings.api_key is None:
            return OperationError(f"the feed at {place} wants an API key ({status}): {SET_KEY}")
        if status == 401:
            return OperationError(f"the feed at {place} refused the API key (401): check the key, then {SET_KEY}")
        return OperationError(
            f"the feed at {place} does not let this API key's plan in (403): see that it has WebSocket channels, "
            "as Standard and above do"
        )
