"""One connection of the hostile feed: the only place where bytes go out on it, and the unkind things done to it."""

import asyncio
import json
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.fault.feed.journal import Connection, Receipt, Sent
from tests.fault.feed.prints import Message

READ_BYTES = 65_536
PING_SECONDS = 0.05
#: A reader that has taken nothing of so much is given no more, as no feed would.
WAITING_BYTES_MAX = 32 << 20
DROPS = 20
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Link:
    """Speaks the protocol's server side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection = Connection(-1, -1, 0)  # until the handshake is over
        self.answers_pings = True
        self.silent = False
        self.lull = False  # nothing is sent, but all is answered
        self.gone = asyncio.Event()
        self._reader, self._writer = reader, writer
        self._protocol = ServerProtocol(max_size=1 << 20)
        self._held: list[bytes] | None = None  # what waits behind a drip
        self._pinged: dict[bytes, tuple[int, int]] = {}  # (count, when) by the ping's payload
        self._said_goodbye = False

    # -- handshake -----------------------------------------------------------------------------------------------

    async def request(self) -> Request | None:
        """Return the client's handshake; None if it leaves before."""
        while chunk := await self._read():
            self._protocol.receive_data(chunk)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    return event
        return None

    def accept(self, request: Request, connection: Connection) -> None:
        """Open the WebSocket."""
        self.connection = connection
        self._protocol.send_response(self._protocol.accept(request))
        self._flush()

    async def refuse(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        """Turn the client away."""
        response = self._protocol.reject(status, "no\n")
        response.headers.update(headers)
        self._protocol.send_response(response)
        self._flush()
        with suppress(OSError):
            await self._writer.drain()

    async def left(self) -> None:
        """Return when the client has given up."""
        while await self._read():
            pass

    async def answer_nonsense(self) -> None:
        """Answer the handshake with something that is not HTTP."""
        self.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        with suppress(OSError):
            await self._writer.drain()

    # -- conversation --------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Answer until the connection is over, by whichever side."""
        pinging = asyncio.create_task(self._ping())
        try:
            while chunk := await self._read():
                if not self.silent:
                    self._protocol.receive_data(chunk)
                    self._take_events()
                    self._flush()
        finally:
            pinging.cancel()
            self.connection.ended_ms = now_ms()
            self.gone.set()

    @property
    def listening(self) -> bool:
        """Whether frames can be sent to it, and the client wants some."""
        return self.open and self.connection.subscribed_ms is not None and not self.lull

    @property
    def open(self) -> bool:
        """Whether anything may be sent on it."""
        return not (self.silent or self._said_goodbye or self._writer.is_closing() or self.gone.is_set())

    @property
    def calm(self) -> bool:
        """Whether it is listening and no blow is at work on it."""
        return self.listening and self._held is None and self.answers_pings

    def send(self, message: Message) -> None:
        """Send a message, and write it down if the producer counts it."""
        if not self.open or self._writer.transport.get_write_buffer_size() > WAITING_BYTES_MAX:
            return
        payload = message.payload
        if message.fate is not None:
            payload = self.connection.stamped(payload)
            self.connection.sent.append(Sent(now_ms(), payload, message.fate, message.channel))
        self.write(wire(payload, Opcode.BINARY if message.binary else Opcode.TEXT))

    def write(self, data: bytes) -> None:
        """Send bytes as they are; behind a drip they wait."""
        if self._held is not None:
            self._held.append(data)
        elif not self._writer.is_closing():
            self._writer.write(data)

    # -- blows ---------------------------------------------------------------------------------------------------

    def cut(self, *, half: bytes = b"", reset: bool = False) -> None:
        """Cut the connection without a word, in the middle of a message or with all that is still on its way."""
        if half and self._held is None:
            self._writer.write(half)
        if reset:
            sock = self._writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    def fall_silent(self) -> None:
        """Leave the connection half-open: from now on nothing is sent or answered."""
        self.silent = True
        self.connection.doomed_ms = self.connection.mute_ms = now_ms()

    def withhold_pongs(self) -> None:
        """Answer the text `ping` no more; everything else goes on."""
        self.answers_pings = False
        self.connection.doomed_ms = now_ms()

    def stop_sending(self, last: bytes) -> None:
        """Send these bytes, which must end the connection, and nothing after them."""
        self.write(last)
        self._said_goodbye = True
        self.connection.doomed_ms = self.connection.mute_ms = now_ms()

    def send_in_pieces(self, message: Message) -> None:
        """Send a message as fragments with a ping between, which the protocol allows."""
        assert message.fate is not None
        payload = self.connection.stamped(message.payload)
        self.connection.sent.append(Sent(now_ms(), payload, message.fate, message.channel))
        cuts = [0, len(payload) // 3, len(payload) // 2, len(payload)]
        for number in range(3):
            piece, last = payload[cuts[number] : cuts[number + 1]], number == 2
            opcode = Opcode.CONT if number else Opcode.TEXT
            self.write(Frame(opcode, piece, fin=last).serialize(mask=False))
            if not last:
                self.write(Frame(Opcode.PING, b"between").serialize(mask=False))

    async def drip(self, message: Message, seconds: float) -> None:
        """Send a message a few bytes at a time, and all else behind it."""
        assert message.fate is not None
        payload = self.connection.stamped(message.payload)
        self.connection.sent.append(Sent(now_ms(), payload, message.fate, message.channel))
        data = wire(payload, Opcode.TEXT)
        self._held, size = [], len(data) // DROPS + 1
        for at in range(0, len(data), size):
            if self._writer.is_closing():
                break
            self._writer.write(data[at : at + size])
            await asyncio.sleep(seconds / DROPS)
        held, self._held = self._held, None
        self.write(b"".join(held))

    async def close_transport(self) -> None:
        """Let go of the socket."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    # -- inside --------------------------------------------------------------------------------------------------

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            return b""

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.TEXT:
                self._take_text(bytes(event.data))
            elif event.opcode is Opcode.PONG:
                self._take_pong(bytes(event.data))

    def _take_text(self, text: bytes) -> None:
        if text == b"ping":
            if self.answers_pings:
                self.write(wire(b"pong", Opcode.TEXT))
            return
        request, connection = json.loads(text), self.connection
        channels = frozenset(request["channels"])
        if request["method"] == "subscribe":
            connection.channels |= channels
            if connection.subscribed_ms is None:
                connection.subscribed_ms = now_ms()
            self.write(wire(json.dumps({"event": "subscribe", "channels": sorted(channels)}).encode(), Opcode.TEXT))
        else:
            connection.channels -= channels

    def _take_pong(self, payload: bytes) -> None:
        if asked := self._pinged.pop(payload, None):
            self.connection.receipts.append(Receipt(*asked, now_ms()))

    async def _ping(self) -> None:
        """Ask again and again how far the client has read."""
        number = 0
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self.listening and self._held is None:
                number += 1
                payload = b"%d" % number
                self._pinged[payload] = (len(self.connection.sent), now_ms())
                self.write(Frame(Opcode.PING, payload).serialize(mask=False))

    def _flush(self) -> None:
        """Send what the protocol answers by itself: the handshake, pongs, the answer to a close."""
        for data in self._protocol.data_to_send():
            if data:
                self.write(data)
            elif self._writer.can_write_eof():
                with suppress(OSError):
                    self._writer.write_eof()


def wire(payload: bytes, opcode: Opcode) -> bytes:
    """Return a whole message as a server sends it."""
    return Frame(opcode, payload).serialize(mask=False)
