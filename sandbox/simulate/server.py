"""The simulated feed's server: CoinGlass's protocol on a WebSocket, in front of one market.

There is one market for all clients: two that listen to the same channel get the same frames, as two connections to
the real feed do. The rate is the market's, spread over all channels that anybody listens to.
"""

import asyncio
import errno
import hmac
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sandbox.simulate import faults
from sandbox.simulate.client import WAITING_BYTES_MAX, Client, on_the_wire
from sandbox.simulate.faults import Fault, Message, Schedule
from sandbox.simulate.market import Frame, Market, encode
from sandbox.simulate.pace import Pace
from sandbox.simulate.requests import PING, answer, refusal
from sandbox.started import Started
from schemas.channels import canonical_name
from schemas.errors import OperationError

PATH = "/ws-api"
KEY_PARAMETER = "cg-api-key"

_BATCH_FRAMES = 500
_TICK_SECONDS = (0.005, 0.05)  # at least, at most
_SLOW_CLIENT_SECONDS_MAX = 5.0
_REQUEST_BYTES_MAX = 1 << 18

_ON_CONNECTIONS: dict[str, Callable[[Client], None]] = {
    "disconnect": Client.cut,
    "half-open": Client.fall_silent,
    "close": Client.leave,
    "no-pong": Client.withhold_pongs,
}

log = structlog.get_logger("coinglass_streams.simulate")


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Where the feed listens and what it sends; `port` 0 takes a free one, `key` None lets everybody in."""

    host: str = "127.0.0.1"
    port: int = 8765
    rate_per_s: float = 50.0
    seed: int = 7
    faults: tuple[Fault, ...] = ()
    key: str | None = None


class SimulatedFeed(Started):
    """A feed to start and stop; `async with SimulatedFeed(settings) as feed: … feed.url`."""

    def __init__(self, settings: FeedSettings) -> None:
        self.settings = settings
        self.port = settings.port
        self.frames_sent = 0
        self._clients: set[Client] = set()
        self._listeners: dict[str, list[Client]] = {}
        self._market = Market(settings.seed, _wall_ms())
        self._rng = random.Random(settings.seed)  # noqa: S311 - which fault looks how, to be had again by the seed
        self._pace = Pace(settings.rate_per_s, _steady_ms())
        self._schedule = Schedule(settings.faults, _steady_ms())
        self._server: Server | None = None
        self._sending: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """The address to give `produce --url`, without a key."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"ws://{host}:{self.port}{PATH}"

    async def start(self) -> None:
        """Listen, and send to whoever subscribes; raises OperationError if the address cannot be had."""
        host, port = self.settings.host, self.settings.port
        try:
            self._server = await serve(
                self._serve_client,
                host,
                port,
                process_request=self._admit,
                compression=None,  # the real feed's frames come as they are
                ping_interval=None,
                close_timeout=1,
                max_size=_REQUEST_BYTES_MAX,
                write_limit=WAITING_BYTES_MAX,
                logger=_websockets_logger(),
            )
        except OSError as error:
            why = "it is taken" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise OperationError(f"cannot listen on {host}:{port}, {why}: choose another with --port") from error
        self.port = self._server.sockets[0].getsockname()[1]
        self._sending = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Close every connection, with a closing handshake where the client takes part in one."""
        self._stopping.set()
        try:
            await self.failed()
        finally:
            for client in self._clients:
                if not client.listening:
                    client.cut()
            if self._server:
                self._server.close()
                await self._server.wait_closed()

    async def failed(self) -> None:
        """Return when the feed has stopped sending; raises what made it."""
        if self._sending:
            await asyncio.shield(self._sending)  # whoever waits may be cancelled, the sending not with it

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse another path with 404, and where a key is asked for, another key with 401."""
        address = urlsplit(request.path)
        if address.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"the feed is at {PATH}\n")
        given = parse_qs(address.query).get(KEY_PARAMETER, [""])[0]
        wanted = self.settings.key
        if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
            return connection.respond(HTTPStatus.UNAUTHORIZED, f"the {KEY_PARAMETER} is missing or wrong\n")
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        client = Client(connection)
        self._clients.add(client)
        log.info("simulate.client_connected", clients=len(self._clients))
        try:
            async for message in connection:
                if client.silent:
                    break
                answered = answer(message, client.subscribed)
                if answered.subscribed != client.subscribed:
                    client.subscribed = answered.subscribed
                    self._listen()
                    log.info("simulate.client_subscribed", channels=len(client.subscribed))
                for reply in answered.replies if client.pongs or message != PING else ():
                    client.write(on_the_wire(Message(reply)))
        except ConnectionClosed:
            pass  # a reset: the client's way of leaving, or a fault of ours
        finally:
            self._clients.discard(client)
            self._listen()
            log.info("simulate.client_gone", clients=len(self._clients))

    def _listen(self) -> None:
        listeners: dict[str, list[Client]] = {}
        for client in self._clients:
            if not client.silent:
                for name in {canonical_name(name) for name in client.subscribed}:
                    listeners.setdefault(name, []).append(client)
        self._listeners = listeners
        self._market.listen(listeners)

    async def _send(self) -> None:
        least, most = _TICK_SECONDS
        tick = min(most, max(least, 1 / self.settings.rate_per_s))
        while not self._stopping.is_set():
            now_ms = _steady_ms()
            for name in self._schedule.due(now_ms):
                self._commit(name, now_ms)
            if not self._listeners:
                self._pace.rest(now_ms)
            due = self._pace.due(now_ms)
            if due:
                frames = self._market.frames(_wall_ms(), min(due, _BATCH_FRAMES))
                self._pace.sent(len(frames))
                self.frames_sent += len(frames)
                self._deliver(frames)
                await self._let_drain()
            await asyncio.sleep(0 if due > _BATCH_FRAMES else tick)

    def _deliver(self, frames: Iterable[Frame]) -> None:
        outgoing: dict[Client, list[bytes]] = {}
        for frame in frames:
            wire = on_the_wire(Message(encode(frame)))
            for client in self._listeners[frame.channel]:
                outgoing.setdefault(client, []).append(wire)
        for client, wires in outgoing.items():
            client.write(b"".join(wires))

    async def _let_drain(self) -> None:
        """Hold back for clients that read slowly, and part with one that does not read at all."""
        for client in tuple(self._clients):
            try:
                async with asyncio.timeout(_SLOW_CLIENT_SECONDS_MAX):
                    await client.drained()
            except TimeoutError:
                log.warning("simulate.client_too_slow", waited_s=_SLOW_CLIENT_SECONDS_MAX)
                client.cut()
            except OSError:
                pass  # it was lost while we waited for it

    def _commit(self, name: str, now_ms: int) -> None:
        """Commit a fault against everybody who listens; with nobody there it passes."""
        listening = {client for clients in self._listeners.values() for client in clients}
        if not listening:
            return
        log.info("simulate.fault", name=name)
        if name == "burst":
            self._pace.hurry(faults.BURST_FACTOR, now_ms, faults.BURST_MS)
            return
        act = _ON_CONNECTIONS.get(name)
        if act is not None:
            for client in listening:
                act(client)
            self._listen()
            return
        frame = self._market.frames(_wall_ms(), 1)[0]
        for client in tuple(self._listeners[frame.channel]):
            self._commit_with(name, frame, client)

    def _commit_with(self, name: str, frame: Frame, client: Client) -> None:
        """Commit a fault that takes a frame, against one who listens to its channel."""
        match name:
            case "slow-drip":
                client.drip(on_the_wire(Message(encode(frame))))
            case "cut":
                client.cut_within(on_the_wire(Message(encode(frame))))
            case "compressed":
                client.write(on_the_wire(faults.compressed(frame)))
            case "refusal":
                refused = {asked for asked in client.subscribed if canonical_name(asked) == frame.channel}
                client.subscribed -= refused
                client.write(b"".join(on_the_wire(Message(refusal(asked))) for asked in refused))
                self._listen()
            case _:
                client.write(on_the_wire(faults.spoil(name, frame, _wall_ms(), self._rng)))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _websockets_logger() -> logging.Logger:
    """Return a logger for the library that is silent about strangers who connect and leave."""
    logger = logging.getLogger("coinglass_streams.simulate.websockets")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_not_about_handshakes)
    return logger


def _not_about_handshakes(record: logging.LogRecord) -> bool:
    return "handshake" not in record.getMessage()
