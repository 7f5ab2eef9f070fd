"""The hostile feed: speaks CoinGlass's protocol to several producers, and writes down all that it does.

Each producer has a path of its own, `/ws-api/SLOT`, so that its connections are known for its.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from sandbox.ports import free_port
from tests.fault.feed.journal import Attempt, Connection, Journal
from tests.fault.feed.link import Link, now_ms
from tests.fault.feed.prints import Market

TICK_SECONDS = 0.01
CATCH_UP_SECONDS_MAX = 0.5


class Refusal(Enum):
    """How a handshake can be turned away."""

    UNAVAILABLE = "503"
    TOO_MANY = "429"
    FAILED = "500"
    SLOW = "an answer that comes late, and is a good one"
    MUTE = "no answer at all"
    NONSENSE = "an answer that is not HTTP"
    HANG_UP = "the connection is closed"


STATUSES = {
    Refusal.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True)
class Admission:
    """How handshakes are answered; a slow one after so long, too many with this Retry-After."""

    refusal: Refusal | None = None
    slow_seconds: float = 0.0
    retry_after_seconds: int = 1


class HostileFeed:
    """Sends `rate` ticks a second to whoever subscribes, while it is entered."""

    def __init__(self, market: Market, rate: float, key: str, host: str = "127.0.0.1") -> None:
        self.journal = Journal()
        self.links: set[Link] = set()
        self.admission = Admission()
        self.market = market
        self.wrong_keys = 0
        self._rate, self._key, self._host = rate, key, host
        self.port = free_port(host)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._down_since_ms = 0

    def url(self, slot: int) -> str:
        """Return the address for the producer in this slot."""
        return f"ws://{self._host}:{self.port}/ws-api/{slot}"

    async def __aenter__(self) -> Self:
        await self._listen()
        self._keep(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shut()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failures:
            raise self._failures[0]

    async def restart(self, down_seconds: float) -> None:
        """Cut everybody and listen no more; then listen again at the same address."""
        await self._shut()
        self._down_since_ms = now_ms()
        try:
            await asyncio.sleep(down_seconds)
        finally:
            await self._listen()
            self.journal.downs.append((self._down_since_ms, now_ms()))

    def calm(self, slot: int | None = None) -> list[Link]:
        """Return the subscribed links that no blow is at work on, of one slot or all, in the order of their numbers."""
        calm = [link for link in self.links if link.calm and slot in (None, link.connection.slot)]
        return sorted(calm, key=lambda link: link.connection.number)

    def flood(self, link: Link, ticks: int) -> None:
        """Send so much at once."""
        for _ in range(ticks):
            for message in self.market.tick(now_ms()).messages(cut_up=False):
                link.send(message)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self._host, self.port)

    async def _shut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for link in [*self.links]:
            link.cut(reset=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._serve(Link(reader, writer)))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failures.append(failure)

    async def _serve(self, link: Link) -> None:
        began_ms = now_ms()
        try:
            request = await link.request()
            if request is None:
                return
            address = urlsplit(request.path)
            slot = int(address.path.rpartition("/")[2])
            self.wrong_keys += parse_qs(address.query).get("cg-api-key") != [self._key]
            if not await self._admit(link, slot, began_ms):
                return
            connection = Connection(len(self.journal.connections), slot, now_ms())
            self.journal.connections.append(connection)
            self.journal.attempts.append(Attempt(slot, began_ms, now_ms(), connection.number))
            link.accept(request, connection)
            self.links.add(link)
            await link.serve()
        finally:
            self.links.discard(link)
            await link.close_transport()

    async def _admit(self, link: Link, slot: int, began_ms: int) -> bool:
        """Answer a handshake as it is done now; False if that was not to let the client in."""
        admission, hold_off_ms = self.admission, 0
        match admission.refusal:
            case None:
                return True
            case Refusal.SLOW:
                await asyncio.sleep(admission.slow_seconds)
                return True
            case Refusal.MUTE:
                await link.left()
            case Refusal.NONSENSE:
                await link.answer_nonsense()
            case Refusal.HANG_UP:
                pass
            case refusal:
                headers = {}
                if refusal is Refusal.TOO_MANY:
                    hold_off_ms = admission.retry_after_seconds * 1_000
                    headers["Retry-After"] = str(admission.retry_after_seconds)
                await link.refuse(STATUSES[refusal], headers)
        self.journal.attempts.append(Attempt(slot, began_ms, now_ms(), None, hold_off_ms))
        return False

    async def _send(self) -> None:
        due, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.journal.lag_ms = max(self.journal.lag_ms, int((now - last - TICK_SECONDS) * 1_000))
            due, last = min(due + (now - last) * self._rate, CATCH_UP_SECONDS_MAX * self._rate), now
            count = int(due)
            due -= count
            links = [link for link in self.links if link.listening]
            for _ in range(count):
                tick = self.market.tick(now_ms())
                whole, parts = tick.messages(cut_up=False), tick.messages(cut_up=True)
                for link in links:
                    if tick.channel in link.connection.channels:
                        for message in parts if link.connection.number % 2 else whole:
                            link.send(message)
