"""An open WebSocket to the feed: whole messages out of it, within bounds, and never a wait past the time that is given.

The library reads frames; what it does not bound is bounded here.
"""

import socket
import time
from contextlib import suppress
from enum import Enum
from typing import Any

import websocket
from websocket import ABNF

from producer.feed_errors import LostError

READ_BYTES = 64 * 1024
#: More pieces of one message are somebody's joke: they cost more than their bytes.
FRAGMENTS_MAX = 4_096
#: Longest wait for the network to take what we send.
WRITE_SECONDS_MAX = 5.0


class Kind(Enum):
    """What was received."""

    MESSAGE = "message"  # text or binary
    CONTROL = "control"  # a WebSocket ping or pong
    CLOSE = "close"


class ReadAhead:
    """A socket read in large pieces: websocket-client asks for a few bytes at a time.

    Each small read would be a system call, and each of those a chance for the publishing thread to keep the interpreter
    for 5 ms. Also where bytes and time are bounded, as the library has no limit for either.
    """

    def __init__(self, sock: socket.socket, rest: bytes, message_bytes_max: int) -> None:
        self._sock = sock
        self._chunk = rest
        self._at = 0
        self._message_bytes_max = message_bytes_max
        #: Bytes given out since this was last set to 0, as it is at the end of every message.
        self.taken_bytes = 0
        #: When to stop waiting, monotonic seconds: a byte now and then must not keep the reader from looking up.
        self.until_s = 0.0
        self.gettimeout = sock.gettimeout
        self.settimeout = sock.settimeout
        self.send = sock.send
        self.fileno = sock.fileno
        self.shutdown = sock.shutdown
        self.close = sock.close

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        at = self._at
        part = self._chunk[at : at + size]
        if not part:
            if time.monotonic() >= self.until_s:
                raise websocket.WebSocketTimeoutException
            self._chunk, at = self._sock.recv(READ_BYTES), 0
            part = self._chunk[:size]
        self._at = at + len(part)
        self.taken_bytes += len(part)
        if self.taken_bytes > self._message_bytes_max:
            raise LostError(f"a message of more than {self._message_bytes_max} bytes")
        return part


class FeedSocket:
    """Receives and sends. Besides LostError its methods raise what sockets and the library raise on trouble."""

    def __init__(
        self,
        opened: Any,  # a websocket.WebSocket, which is half typed
        sock: socket.socket,
        rest: bytes,
        *,
        message_bytes_max: int,
        wait_s: float,
    ) -> None:
        sock.settimeout(wait_s)
        self._wait_s = wait_s
        self._ahead = ReadAhead(sock, rest, message_bytes_max)
        self._opened = opened
        self._opened.sock = self._ahead
        self._parts: list[bytes] = []

    def receive(self, until_s: float) -> tuple[Kind, bytes] | None:
        """Return the next message as it came, in one piece; None if none is whole by `until_s`, monotonic seconds.

        A message of which a part has come is finished by a later call.
        """
        ahead = self._ahead
        ahead.until_s = until_s
        while True:
            try:
                frame = self._opened.recv_frame()
            except websocket.WebSocketTimeoutException:
                return None
            payload: bytes = frame.data
            if frame.opcode >= ABNF.OPCODE_CLOSE:
                return self._control(frame.opcode, frame.fin, payload)
            whole = self._gathered(frame.opcode, frame.fin, payload)
            if whole is not None:
                ahead.taken_bytes = 0
                return Kind.MESSAGE, whole

    def send(self, text: str) -> None:
        """Send a text message."""
        self._send(text.encode(), ABNF.OPCODE_TEXT)

    def ping(self) -> None:
        """Send a WebSocket ping."""
        self._send(b"", ABNF.OPCODE_PING)

    def say_goodbye(self) -> None:
        """Send our close; what the feed sent before it learns of that may still be received."""
        self._send(websocket.STATUS_NORMAL.to_bytes(2, "big"), ABNF.OPCODE_CLOSE)

    def close(self) -> None:
        """Give up the connection."""
        with suppress(OSError):
            self._ahead.shutdown(socket.SHUT_RDWR)
        self._ahead.close()

    def _send(self, payload: bytes, opcode: int) -> None:
        self._ahead.settimeout(WRITE_SECONDS_MAX)
        try:
            self._opened.send(payload, opcode)
        except websocket.WebSocketTimeoutException:
            raise LostError(f"the network took nothing of ours for {WRITE_SECONDS_MAX:g} s") from None
        finally:
            with suppress(OSError):  # closed meanwhile
                self._ahead.settimeout(self._wait_s)

    def _control(self, opcode: int, fin: int, payload: bytes) -> tuple[Kind, bytes]:
        if not fin or len(payload) > 125:
            raise LostError("a control frame that is cut or too long")
        if not self._parts:
            self._ahead.taken_bytes = 0
        if opcode == ABNF.OPCODE_PING:
            self._send(payload, ABNF.OPCODE_PONG)
        return (Kind.CLOSE if opcode == ABNF.OPCODE_CLOSE else Kind.CONTROL), payload

    def _gathered(self, opcode: int, fin: int, payload: bytes) -> bytes | None:
        """Return the message that this frame ends, None if more of it is to come."""
        if (opcode == ABNF.OPCODE_CONT) != bool(self._parts):
            raise LostError("a message's pieces in disorder")
        if fin and not self._parts:
            return payload
        self._parts.append(payload)
        if len(self._parts) > FRAGMENTS_MAX:
            raise LostError(f"a message in more than {FRAGMENTS_MAX} pieces")
        if not fin:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole
