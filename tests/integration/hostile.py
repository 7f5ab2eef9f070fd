"""A WebSocket server that does to a client what a test asks, byte by byte, and a feed that listens to it.

There is no library in the server: a library would not send what must not be sent.
"""

import asyncio
import json
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha1
from typing import Any

from producer.buffer import Buffer
from producer.entries import DeadLetterEntry, Entry, FrameEntry, MarkEntry
from producer.feed import Feed
from producer.settings import ProducerSettings, Timing
from producer.stats import Stats

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIQUIDATIONS = "liquidationOrders"


def frame(number: int, channel: str = LIQUIDATIONS) -> bytes:
    return b'{"channel":"%s","data":[{"n":%d}]}' % (channel.encode(), number)


def wire(payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return a frame as a server writes it."""
    first = (fin << 7) | (rsv1 << 6) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class Peer:
    """A client that has connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.path = ""
        self.subscribed: list[str] = []  # what the client asked for and did not take back
        self.said: list[str] = []

    async def request(self) -> str:
        """Read the handshake; return the key that it asks an answer to."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.path = head.split(" ")[1]
        return next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))

    async def accept(self, behind: bytes = b"", headers: str = "") -> None:
        """Open the WebSocket; `behind` goes out in the same piece."""
        key = await self.request()
        token = b64encode(sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"{headers}Sec-WebSocket-Accept: {token}\r\n\r\n"
        )
        self.writer.write(answer.encode() + behind)

    async def refuse(self, status: str, headers: str = "") -> None:
        """Answer the handshake with a status."""
        await self.request()
        self.writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode())

    async def hear(self) -> tuple[int, bytes]:
        """Read one frame of the client's."""
        first, length = await self.reader.readexactly(2)
        size = length & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        mask = await self.reader.readexactly(4)
        masked = await self.reader.readexactly(size)
        return first & 15, bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked))

    async def hear_subscription(self) -> None:
        """Read until the client has asked for something."""
        while not self.subscribed:
            self.note(*await self.hear())

    def note(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.said.append(payload.decode())
            if payload != b"ping":
                request = json.loads(payload)
                if request["method"] == "subscribe":
                    self.subscribed += request["channels"]
                else:
                    self.subscribed = [name for name in self.subscribed if name not in request["channels"]]

    def send(self, *payloads: bytes) -> None:
        self.writer.write(b"".join(map(wire, payloads)))

    def answer(self, opcode: int, payload: bytes) -> None:
        """Answer as CoinGlass does."""
        self.note(opcode, payload)
        if payload == b"ping":
            self.send(b"pong")
        elif opcode == PING:
            self.writer.write(wire(payload, PONG))

    async def behave(self) -> None:
        """Answer until the client closes or goes."""
        while True:
            opcode, payload = await self.hear()
            self.answer(opcode, payload)
            if opcode == CLOSE:
                self.writer.write(wire(payload, CLOSE))
                return


Script = Callable[[Peer], Awaitable[None]]


async def well_behaved(peer: Peer) -> None:
    await peer.accept()
    await peer.behave()


class HostileServer:
    """Plays one script for each connection, in their order, and the last one for all further ones."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.peers: list[Peer] = []
        self.times: list[float] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self.times.append(asyncio.get_running_loop().time())
        script = self._scripts[min(len(self.peers), len(self._scripts)) - 1]
        try:
            await script(peer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone
        finally:
            with suppress(OSError):
                writer.close()

    @property
    def subscribed(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.subscribed]


class Scene:
    """A feed that listens to such a server, and what it put into its buffer."""

    def __init__(self, server: HostileServer, settings: ProducerSettings, buffer_bytes: int) -> None:
        self.server = server
        self.stats = Stats()
        self.buffer = Buffer(buffer_bytes)
        self.ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.feed = Feed(settings, self.buffer, self.stats, lambda: loop.call_soon_threadsafe(self.ended.set))
        self._entries: list[Entry] = []

    @property
    def entries(self) -> list[Entry]:
        taken = self.buffer.take(10**9)
        self.buffer.free(sum(entry.cost_bytes for entry in taken))
        self._entries += taken
        return self._entries

    @property
    def frames(self) -> list[bytes]:
        return [entry.payload for entry in self.entries if isinstance(entry, FrameEntry)]

    @property
    def letters(self) -> list[bytes]:
        return [entry.payload for entry in self.entries if isinstance(entry, DeadLetterEntry)]

    @property
    def marks(self) -> list[dict[str, Any]]:
        """All marks, each with its headers beside its fields."""
        return [
            json.loads(entry.payload) | {name: value.decode() for name, value in entry.headers}
            for entry in self.entries
            if isinstance(entry, MarkEntry)
        ]

    @property
    def downs(self) -> list[dict[str, Any]]:
        return [mark for mark in self.marks if mark["kind"] == "down"]


async def until(true: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is awaited is in another thread
            await asyncio.sleep(0.005)


@asynccontextmanager
async def scene(
    *scripts: Script,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    buffer_bytes: int = 1 << 26,
    **more: Any,
) -> AsyncIterator[Scene]:
    """Play the scripts to a feed; leaving stops it, and raises what it ended with."""
    server = HostileServer(*scripts)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    given: dict[str, Any] = {
        "timing": Timing(probe_every_ms=30),
        "tick_every_ms": 20,
        "mark_every_ms": 50,
        "backoff_first_ms": 20,
        "backoff_ms_max": 100,
        "url": f"{'wss' if tls else 'ws'}://{host}:{port}/ws-api",
    }
    settings = ProducerSettings(bootstrap="nowhere:1", **(given | more))
    shown = Scene(server, settings, buffer_bytes)
    shown.feed.start()
    try:
        yield shown
    finally:
        shown.feed.stop()
        await asyncio.to_thread(shown.feed.wait_until_done)
        listening.close()
        for peer in server.peers:
            peer.writer.transport.abort()
    if shown.feed.error is not None:
        raise shown.feed.error
