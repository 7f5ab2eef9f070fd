"""The thread that reads the feed: a websocket-client socket around the protocol, reconnected until told to stop.

The API key is in the address that is connected to and nowhere else: nothing here logs or raises what holds the address.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, NoReturn
from uuid import uuid4

import structlog
import websocket
from websocket import ABNF

from producer.backoff import Backoff
from producer.buffer import Buffer
from producer.intake import Intake
from producer.protocol import Dead, FeedProtocol, Notice, Placed, SendProbe, SendText, Unplaced
from producer.settings import SET_KEY, ProducerSettings
from producer.stats import Stats
from schemas.channels import canonical_name
from schemas.errors import OperationError

#: What ends a connection or an attempt: the network, the other side's bytes, a host name that cannot be one.
LOST = (OSError, websocket.WebSocketException, ValueError)

READ_BYTES = 64 * 1024
CLOSE_SECONDS_MAX = 1.0
#: Between two ticks, wall clock and monotonic clock may disagree by this much: more is a step, and times from before
#: and after it cannot be compared.
CLOCK_STEP_S_MAX = 2.0
NOTICES_LOGGED_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class ClosedByUsError(Exception):
    """We closed the connection ourselves."""


class ClosedByFeedError(Exception):
    """The connection is over, and not by our wish; the message says why."""


class KeyRefusedError(Exception):
    """The feed turned the handshake down with this status: trying again would not help."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ReadAhead:
    """A socket read in large pieces: websocket-client asks for a few bytes at a time.

    Each small read would be a system call, and each of those a chance for the publishing thread to keep the interpreter
    for 5 ms. Also the bound on a message: the library would gather one of any length.
    """

    def __init__(self, sock: Any, message_bytes_max: int) -> None:
        self._sock = sock
        self._chunk = b""
        self._at = 0
        self._message_bytes_max = message_bytes_max
        #: Bytes read since the reader last set this to 0, which it does at every message.
        self.read_bytes = 0
        self.gettimeout = sock.gettimeout

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        at = self._at
        part = self._chunk[at : at + size]
        if part:
            self._at = at + len(part)
            return part
        chunk: bytes = self._sock.recv(READ_BYTES)
        self.read_bytes += len(chunk)
        if self.read_bytes > self._message_bytes_max + READ_BYTES:
            raise websocket.WebSocketProtocolException(f"a message of more than {self._message_bytes_max} bytes")
        self._chunk, self._at = chunk, min(size, len(chunk))
        return chunk[:size]

    def __getattr__(self, name: str) -> Any:
        """Everything else is the socket's own."""
        return getattr(self._sock, name)


class Feed:
    """Reads the feed into the buffer until `stop` is set. `ended` is called from the thread when it is over."""

    def __init__(
        self, settings: ProducerSettings, buffer: Buffer, stats: Stats, ended: Callable[[], object] = lambda: None
    ) -> None:
        self._settings = settings
        self._buffer = buffer
        self._stats = stats
        self._ended = ended
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="feed", daemon=True)  # a name look-up cannot be interrupted
        #: What ended the thread, if it was not `stop`.
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end: the subscription is taken back and the connection closed."""
        self._stopping.set()

    def wait_until_done(self) -> None:
        """Return once nothing more will come into the buffer; after `stop`. An attempt to connect is not awaited."""
        while self._thread.is_alive() and self._stats.connected:
            self._thread.join(0.02)

    def _run(self) -> None:
        with self._carried():
            self._follow_feed()

    @contextmanager
    def _carried(self) -> Iterator[None]:
        """Carry any failure to the thread that looks at `error`, and tell it."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again by the service
            self.error = error
        finally:
            self._ended()

    def _follow_feed(self) -> None:
        settings = self._settings
        backoff = Backoff(settings.backoff_first_ms, settings.backoff_ms_max, settings.healthy_after_ms)
        while not self._stopping.is_set():
            began_s = time.monotonic()
            event, why, lasted_ms = "feed.unreachable", "", 0
            try:
                feed = self._connect()
                event, began_s = "feed.lost", time.monotonic()
                self._follow(feed)
            except ClosedByUsError:
                return
            except ClosedByFeedError as error:
                why = str(error)
            except KeyRefusedError as refused:
                raise self._refusal(refused.status) from None
            except LOST as error:
                why = _describe(error)
            if event == "feed.lost":
                lasted_ms = int((time.monotonic() - began_s) * 1000)
            pause_ms = backoff.pause_ms(random.random(), lasted_ms)  # noqa: S311 - jitter, not cryptography
            log.warning(event, url=settings.place, error=self._scrub(why), retry_in_ms=pause_ms)
            self._stopping.wait(pause_ms / 1000)

    def _connect(self) -> Any:  # a websocket.WebSocket, which is half typed
        settings = self._settings
        self._stats.attempts += 1
        feed: Any = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
        try:
            feed.connect(settings.address(), timeout=settings.connect_timeout_ms / 1000, redirect_limit=0)
        except websocket.WebSocketBadStatusException as error:
            if error.status_code in (401, 403):
                raise KeyRefusedError(error.status_code) from None
            raise websocket.WebSocketException(f"the feed answered with status {error.status_code}") from None
        feed.settimeout(min(settings.tick_every_ms, settings.mark_every_ms) / 1000)
        return feed

    def _follow(self, feed: Any) -> NoReturn:
        """Subscribe and read until the connection is over."""
        settings, stats = self._settings, self._stats
        connection = str(uuid4())
        protocol = FeedProtocol(settings.channels, settings.timing)
        intake = Intake(
            connection,
            tuple(map(canonical_name, settings.channels)),
            self._buffer,
            stats,
            mark_every_ms=settings.mark_every_ms,
            frame_bytes_max=settings.frame_bytes_max,
            group=settings.redundant_group,
        )
        why = "the producer was stopped"
        feed.sock = sock = ReadAhead(feed.sock, settings.message_bytes_max)
        stats.connected = True
        try:
            if self._stopping.is_set():
                raise ClosedByUsError
            feed.send(protocol.opened(_now_ms()).text)
            stats.connections += 1
            intake.subscribed(_now_ms())
            log.info("feed.subscribed", url=settings.place, connection=connection, channels=len(settings.channels))
            self._read(feed, sock, protocol, intake)
        except (ClosedByFeedError, *LOST) as error:
            why = self._scrub(_describe(error))
            raise
        finally:
            intake.ended(_now_ms(), protocol.heard_at_ms, why)
            feed.close(timeout=CLOSE_SECONDS_MAX)
            feed.shutdown()
            stats.connected = False

    def _read(self, feed: Any, sock: ReadAhead, protocol: FeedProtocol, intake: Intake) -> NoReturn:
        """Read message after message, and tick in between, until one of the two sides closes."""
        monotonic, wall = time.monotonic, time.time
        tick_every_s = feed.gettimeout()
        due_s, offset_s = monotonic(), wall() - monotonic()
        notices = NoticeLog(self._scrub)

        def receive() -> int:
            return self._receive(feed, sock, protocol, intake, notices)

        while True:
            now_ms = receive()
            if monotonic() < due_s:
                continue
            due_s = monotonic() + tick_every_s
            step_s, offset_s = wall() - monotonic() - offset_s, wall() - monotonic()
            if abs(step_s) > CLOCK_STEP_S_MAX:
                raise ClosedByFeedError(f"this machine's clock was set by {step_s:.0f} s")
            if self._stopping.is_set():
                self._take_leave(feed, protocol, receive)
                raise ClosedByUsError
            self._tick(feed, protocol, intake, now_ms)

    def _receive(self, feed: Any, sock: ReadAhead, protocol: FeedProtocol, intake: Intake, notices: "NoticeLog") -> int:
        """Take one message, or none if none comes within a tick; return when that was, UTC ms."""
        try:
            opcode, frame = feed.recv_data_frame(True)
        except websocket.WebSocketTimeoutException:
            return _now_ms()
        sock.read_bytes = 0
        now_ms = _now_ms()
        if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            message = protocol.message(frame.data, now_ms)
            if isinstance(message, (Placed, Unplaced)):
                intake.take(message, now_ms)
            else:
                intake.pass_over(message)
                notices.show(message)
        elif opcode == ABNF.OPCODE_CLOSE:
            raise ClosedByFeedError(f"the feed closed the connection {_close_reason(frame.data)}")
        else:
            protocol.heard(now_ms)
        return now_ms

    def _take_leave(self, feed: Any, protocol: FeedProtocol, receive: Callable[[], int]) -> None:
        """Close, and read on until the feed's own close: what it sent before it learnt of ours is on its way."""
        deadline_s = time.monotonic() + CLOSE_SECONDS_MAX
        with suppress(ClosedByFeedError, *LOST):
            feed.send(protocol.closing().text)
            feed.send_close()
            while time.monotonic() < deadline_s:
                receive()

    def _tick(self, feed: Any, protocol: FeedProtocol, intake: Intake, now_ms: int) -> None:
        for action in protocol.tick(now_ms):
            match action:
                case SendText(text):
                    feed.send(text)
                case SendProbe():
                    feed.ping()
                case Dead(reason):
                    raise websocket.WebSocketConnectionClosedException(reason)
        covered = intake.covered
        intake.tick(now_ms, protocol.heard_at_ms)
        if covered and not intake.covered:
            log.warning("feed.buffer_full", buffer_bytes=self._buffer.used_bytes)

    def _scrub(self, text: str) -> str:
        key = self._settings.api_key
        return key.scrub(text) if key else text

    def _refusal(self, status: int) -> OperationError:
        if self._settings.api_key is None:
            return OperationError(f"the feed at {self._settings.place} wants an API key ({status}): {SET_KEY}")
        return OperationError(
            f"the feed at {self._settings.place} refused the API key ({status}): check the key, "
            f"and that its plan has these channels, then {SET_KEY}"
        )


class NoticeLog:
    """Logs what the server says beside frames: one line a second at most, with the number left out before it."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._next_at_s = 0.0
        self._unlogged = 0

    def show(self, message: object) -> None:
        """Log a notice."""
        if not isinstance(message, Notice):
            return
        if time.monotonic() < self._next_at_s:
            self._unlogged += 1
            return
        log.info("feed.notice", text=self._scrub(message.text), unlogged=self._unlogged)
        self._unlogged, self._next_at_s = 0, time.monotonic() + NOTICES_LOGGED_EVERY_S


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _describe(error: BaseException) -> str:
    text = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
    return text or type(error).__name__


def _close_reason(data: bytes) -> str:
    code = str(int.from_bytes(data[:2], "big")) if len(data) >= 2 else "without a code"
    return f"({code} {data[2:].decode('utf-8', 'replace')})".replace(" )", ")")
