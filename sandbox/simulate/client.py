"""One connected client: what it listens to, and the only place from which bytes are written to it."""

import asyncio

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from sandbox.simulate.faults import DRIP_MS, Message

#: What may wait in a client's transport before the feed holds back for it, bytes.
WAITING_BYTES_MAX = 1 << 20

#: A client that has not noticed by now that it is alone is cut off.
SILENT_SECONDS_MAX = 120.0

_CUT_SECONDS = 0.1  # after half a message, so that the half arrives
_RSV1 = 0x40  # what marks a compressed message
_DROP_BYTES = 8
_DROPS_PER_S = 20


def on_the_wire(message: Message) -> bytes:
    """Return the WebSocket frame of a message, the same for every client: a server does not mask."""
    opcode = Opcode.BINARY if message.binary else Opcode.TEXT
    wire = Frame(opcode, message.payload).serialize(mask=False)
    return bytes([wire[0] | _RSV1]) + wire[1:] if message.compressed else wire


class Client:
    """A connection with its subscriptions, and with the faults that can befall it.

    Everything goes out by `write`, straight into the transport: a batch of frames costs one system call, and a slow
    drip can hold back what comes behind it.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.subscribed: frozenset[str] = frozenset()
        self.silent = False
        self.pongs = True
        self._held: list[bytes] | None = None
        self._drip: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether anything can be written to it."""
        closing = self.connection.transport.is_closing() or self.connection.state is not State.OPEN
        return not closing and not self.silent

    @property
    def listening(self) -> bool:
        """Whether it can take part in a closing handshake: open, and not in the middle of a drip."""
        return self.open and self._held is None

    def write(self, wire: bytes) -> None:
        """Send bytes of whole WebSocket frames; behind a drip they wait, to a silent or closed client they are lost."""
        if not self.open:
            return
        if self._held is not None:
            self._held.append(wire)
        else:
            self.connection.transport.write(wire)

    async def drained(self) -> None:
        """Wait until less than WAITING_BYTES_MAX waits in the transport."""
        if self.open:
            await self.connection.drain()

    def cut(self) -> None:
        """Reset the connection, without a closing handshake."""
        if self._drip:
            self._drip.cancel()
        self.connection.transport.abort()

    def cut_within(self, wire: bytes) -> None:
        """Send half of these bytes, and reset the connection."""
        if self.listening:
            self._held = []
            self.connection.transport.write(wire[: len(wire) // 2])
            self.connection.loop.call_later(_CUT_SECONDS, self.cut)

    def leave(self) -> None:
        """Close the connection as a server does that goes away."""
        if self.listening:
            self._leaving = asyncio.create_task(self.connection.close(CloseCode.GOING_AWAY, "going away"))

    def withhold_pongs(self) -> None:
        """Answer no text ping any more."""
        self.pongs = False

    def fall_silent(self) -> None:
        """Leave the connection half-open: send nothing, read nothing, answer nothing."""
        if self.listening:  # in the middle of a drip it is as good as silent already
            self.silent = True
            self.connection.transport.pause_reading()
            self.connection.loop.call_later(SILENT_SECONDS_MAX, self.cut)

    def drip(self, wire: bytes) -> None:
        """Send these bytes a few at a time, and what is written meanwhile after them."""
        if self.listening:
            self._held = []
            self._drip = asyncio.create_task(self._let_drip(wire))

    async def _let_drip(self, wire: bytes) -> None:
        transport = self.connection.transport
        transport.pause_reading()  # or a pong of the protocol's own would fall between the drops
        drops = min(DRIP_MS * _DROPS_PER_S // 1_000, len(wire) // _DROP_BYTES)
        for drop in range(drops):
            transport.write(wire[drop * _DROP_BYTES : (drop + 1) * _DROP_BYTES])
            await asyncio.sleep(DRIP_MS / 1_000 / drops)
            if transport.is_closing():
                return
        held, self._held = self._held or [], None
        transport.write(wire[drops * _DROP_BYTES :] + b"".join(held))
        transport.resume_reading()
