"""One connection to the feed, from subscribing to its end: messages into the buffer, marks of what was heard."""

import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event
from typing import NoReturn
from uuid import uuid4

import structlog
import websocket

from producer.buffer import Buffer
from producer.feed_errors import ClosedByUsError, LostError, RefusedError
from producer.feed_socket import FeedSocket, Kind
from producer.intake import Intake
from producer.notices import Verdict
from producer.protocol import Dead, FeedProtocol, Notice, Placed, SendProbe, SendText, Unplaced
from producer.quiet import QuietChannels
from producer.settings import ProducerSettings
from producer.stats import FeedStats
from schemas.channels import canonical_name

#: What ends a connection or an attempt: the network, the other side's bytes, a host name that cannot be one.
TROUBLE = (LostError, OSError, websocket.WebSocketException, ValueError)

CLOSE_SECONDS_MAX = 1.0
#: Between two ticks, wall clock and monotonic clock may disagree by this much: more is a step, and times from before
#: and after it cannot be compared.
CLOCK_STEP_S_MAX = 2.0
NOTICES_LOGGED_EVERY_S = 1.0
DROPS_LOGGED_EVERY_S = 1.0
QUIET_LOOKED_AT_EVERY_MS = 1_000
CHANNELS_LOGGED_MAX = 10
NOTICE_CHARACTERS_MAX = 500

#: Close codes that say that the feed does not want us: policy, and HTTP's 4xx as applications write them.
_POLICY = 1008
_LIKE_HTTP_4XX = range(4400, 4500)

log = structlog.get_logger(__name__)


class Orders:
    """What the thread of a connection is told from outside: its channels, and to stop."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = tuple(channels)
        self.stopping = Event()
        #: Why it was stopped.
        self.why = ""

    def stop(self, why: str) -> None:
        """Ask for the end: the subscription is taken back and the connection closed."""
        self.why = self.why or why
        self.stopping.set()


class Connection:
    """One connection; `run` returns by an error that says how it ended."""

    def __init__(
        self,
        socket: FeedSocket,
        orders: Orders,
        settings: ProducerSettings,
        buffer: Buffer,
        stats: FeedStats,
        quiet: QuietChannels,
    ) -> None:
        self._socket = socket
        self._orders = orders
        self._settings = settings
        self._buffer = buffer
        self._stats = stats
        self._quiet = quiet
        self._id = str(uuid4())
        channels = orders.channels  # once: another thread may change them
        self._protocol = FeedProtocol(channels, settings.timing)
        self._intake = Intake(
            self._id,
            tuple(map(canonical_name, channels)),
            buffer,
            stats,
            mark_every_ms=settings.mark_every_ms,
            frame_bytes_max=settings.frame_bytes_max,
            group=settings.redundant_group,
        )
        self._notices = NoticeLog(settings.scrub)
        self._drops = DropLog(stats.dropped, buffer)
        self._tick_every_s = min(settings.tick_every_ms, settings.mark_every_ms) / 1000
        self._began_at_ms = 0
        self._offset_s = 0.0  # of the wall clock
        self._looked_at_ms = 0  # at quiet channels

    @property
    def heard_for_ms(self) -> int:
        """For how long anything was heard: a connection that only hangs open is not a healthy one."""
        return max(0, self._protocol.heard_at_ms - self._began_at_ms)

    def run(self) -> NoReturn:
        """Subscribe and read until it is over. Raises ClosedByUsError, or LostError with why."""
        stats, why = self._stats, ""
        stats.connected = True
        try:
            self._subscribe()
            self._read()
        except ClosedByUsError:
            why = self._orders.why
            raise
        except TROUBLE as error:
            lost = as_lost(error, self._settings.scrub)
            why = str(lost)
            raise lost from None
        finally:
            self._intake.ended(_now_ms(), self._protocol.heard_at_ms, why or "the producer failed")
            self._drops.look(last=True)
            self._socket.close()
            stats.connected = False

    def _subscribe(self) -> None:
        if self._orders.stopping.is_set():
            raise ClosedByUsError
        self._began_at_ms = now_ms = _now_ms()
        self._offset_s = time.time() - time.monotonic()
        self._socket.send(self._protocol.opened(now_ms).text)
        self._stats.connections += 1
        self._quiet.connected(now_ms)
        self._intake.subscribed(_now_ms())
        log.info(
            "feed.subscribed",
            url=self._settings.place,
            connection=self._id,
            channels=len(self._protocol.subscription.spelled),
        )

    def _read(self) -> NoReturn:
        """Read message after message, and tick in between, until one of the two sides closes."""
        while True:
            self._read_until(time.monotonic() + self._tick_every_s)
            self._check_clock()
            if self._orders.stopping.is_set():
                self._take_leave()
                raise ClosedByUsError
            self._tick(_now_ms())

    def _read_until(self, until_s: float) -> None:
        receive, take, monotonic = self._socket.receive, self._take, time.monotonic
        while monotonic() < until_s:
            received = receive(until_s)
            if received is not None:
                take(*received)

    def _take(self, kind: Kind, payload: bytes) -> None:
        now_ms = _now_ms()
        if kind is Kind.MESSAGE:
            message = self._protocol.message(payload, now_ms)
            if isinstance(message, (Placed, Unplaced)):
                self._intake.take(message, now_ms)
            else:
                self._intake.pass_over(message)
                if isinstance(message, Notice):
                    self._notices.show(message)
        elif kind is Kind.CLOSE:
            raise closed_by_feed(payload, self._settings.refused_pause_ms)
        else:
            self._protocol.heard(now_ms)

    def _check_clock(self) -> None:
        offset_s = time.time() - time.monotonic()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(step_s) > CLOCK_STEP_S_MAX:
            raise LostError(f"this machine's clock was set by {step_s:.0f} s")

    def _take_leave(self) -> None:
        """Close, and read on until the feed's own close: what it sent before it learnt of ours is on its way."""
        until_s = time.monotonic() + CLOSE_SECONDS_MAX
        with suppress(*TROUBLE):
            self._socket.send(self._protocol.closing().text)
            self._socket.say_goodbye()
            self._read_until(until_s)

    def _tick(self, now_ms: int) -> None:
        protocol, intake = self._protocol, self._intake
        for request in protocol.follow(self._orders.channels, now_ms):
            self._socket.send(request.text)
        for action in protocol.tick(now_ms):
            match action:
                case SendText(text):
                    self._socket.send(text)
                case SendProbe():
                    self._socket.ping()
                case Dead(reason):
                    raise LostError(reason)
        intake.tick(now_ms, protocol.heard_at_ms, protocol.subscription.claimed)
        self._drops.look()
        if now_ms - self._looked_at_ms >= QUIET_LOOKED_AT_EVERY_MS:
            self._looked_at_ms = now_ms
            self._look_for_quiet(now_ms)

    def _look_for_quiet(self, now_ms: int) -> None:
        quiet, stats = self._quiet, self._stats
        silent, heard = quiet.look(self._protocol.subscription.frames_at_ms, now_ms)
        if silent:
            log.warning(
                "feed.channels_quiet",
                channels=_some(silent),
                reason="silent for longer than ever",
                remedy="none if the market is quiet; else see that the channel still exists",
            )
        if heard:
            log.info("feed.channels_heard_again", channels=_some(heard))
        stats.quiet_channels, stats.silences_ms = quiet.quiet, quiet.silences_ms()
        stats.refused_channels = len(self._protocol.subscription.refused)


class NoticeLog:
    """Logs what the server says beside frames: one line a second at most, with the number left out before it.

    A refusal of channels is always shown, once for each: it is not repeated until the channel was heard.
    """

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._next_at_s = 0.0
        self._unlogged = 0

    def show(self, notice: Notice) -> None:
        """Log a notice."""
        text = self._scrub(notice.text)[:NOTICE_CHARACTERS_MAX]  # in this order: half a key would not be found
        if notice.verdict is Verdict.REFUSED and notice.channels:
            log.error(
                "feed.subscription_refused",
                channels=_some(notice.channels),
                text=text,
                remedy="see that the plan has these channels and that they exist; they are asked for again",
            )
        elif time.monotonic() < self._next_at_s:
            self._unlogged += 1
        else:
            level = log.error if notice.verdict is Verdict.REFUSED else log.info
            level("feed.notice", text=text, unlogged=self._unlogged)
            self._unlogged, self._next_at_s = 0, time.monotonic() + NOTICES_LOGGED_EVERY_S


class DropLog:
    """Logs how many frames were not kept, and why: one line a second at most. They may be few, between two ticks."""

    def __init__(self, dropped: Counter[str], buffer: Buffer) -> None:
        self._dropped = dropped
        self._buffer = buffer
        self._told = dropped.copy()
        self._next_at_s = 0.0

    def look(self, *, last: bool = False) -> None:
        """Log what was dropped since the last line, if that is long enough ago, or if nobody will look again."""
        if self._dropped == self._told or (time.monotonic() < self._next_at_s and not last):
            return
        for reason, count in (self._dropped - self._told).items():
            log.warning("feed.dropped", reason=reason, frames=count, buffer_bytes=self._buffer.used_bytes)
        self._told, self._next_at_s = self._dropped.copy(), time.monotonic() + DROPS_LOGGED_EVERY_S


def closed_by_feed(payload: bytes, refused_pause_ms: int) -> LostError:
    """Return what a close frame means."""
    code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")
    why = f"the feed closed the connection ({code or 'without a code'} {reason})".replace(" )", ")")
    if code == _POLICY or code in _LIKE_HTTP_4XX:
        return RefusedError(why, refused_pause_ms)
    return LostError(why)


def as_lost(error: BaseException, scrub: Callable[[str], str]) -> LostError:
    """Return what ended a connection or an attempt as a LostError: in words, without secrets."""
    if isinstance(error, LostError):
        return type(error)(scrub(str(error)), error.hold_off_ms)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the feed's certificate is not to be trusted: {error.verify_message}"
    elif isinstance(error, (TimeoutError, websocket.WebSocketTimeoutException)):
        why = "no answer came in time"
    elif isinstance(error, websocket.WebSocketConnectionClosedException):
        why = "the connection ended without a close"
    elif isinstance(error, websocket.WebSocketProtocolException):
        why = f"what came is not WebSocket's protocol: {error}"
    else:
        why = str(error.strerror if isinstance(error, OSError) and error.strerror else error) or type(error).__name__
    return LostError(scrub(why))


def _some(channels: Sequence[str]) -> str:
    more = len(channels) - CHANNELS_LOGGED_MAX
    return ",".join(channels[:CHANNELS_LOGGED_MAX]) + (f" and {more} more" if more > 0 else "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
