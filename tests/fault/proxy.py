"""A proxy before one broker that knows Kafka's requests apart, and can be unkind to those it is told to.

    client ── requests ──▶ Proxy ── a connection of its own for each of the client's ──▶ broker
                             └───── another one for what is delivered late ────────────▶

The broker must advertise the proxy's port (`KafkaSettings.advertised_port`). What happens is given by rules, in order;
the first that takes a request decides. Chance comes from the seed alone, drawn in the order in which requests arrive.
Requests that want no answer (`acks=0`) are not meant.
"""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from random import Random
from types import TracebackType
from typing import Protocol, Self

FRAME_BYTES_MAX = 100 << 20  # a broker's own limit
GRACE_SECONDS = 5.0  # how long the broker may still answer a client that has left


class Api(IntEnum):
    """The requests that tests speak of, by Kafka's api keys."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    OFFSET_COMMIT = 8
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


@dataclass(frozen=True)
class Request:
    """One request as it came from a client."""

    connection: int  # which of the proxy's, counted from 1
    frame: bytes  # all of it, its size included
    api_key: int
    version: int
    correlation_id: int

    @classmethod
    def of(cls, connection: int, frame: bytes) -> "Request":
        """Read what all versions' headers begin with. Raises ConnectionError where it is too short to be one."""
        if len(frame) < 12:
            raise ConnectionError(f"{len(frame)} bytes are no request")
        return cls(connection, frame, *struct.unpack_from(">hhi", frame, 4))


@dataclass(frozen=True)
class Entry:
    """One thing that the proxy did."""

    at_s: float  # since the proxy's start
    what: str
    request: Request | None = None


class When(Protocol):
    """A moment that can be waited for."""

    async def wait(self, random: Random) -> None:
        """Return when it has come."""


@dataclass(frozen=True)
class After:
    """A while from now: the same one each time, or one between two bounds."""

    seconds_min: float
    seconds_max: float | None = None

    async def wait(self, random: Random) -> None:
        """Return when it is over."""
        await asyncio.sleep(random.uniform(self.seconds_min, self.seconds_max or self.seconds_min))


@dataclass(frozen=True)
class Gate:
    """The moment when a test says so."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)  # a request stands before it
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Let all pass, from now on."""
        self.opened.set()

    async def wait(self, random: Random) -> None:
        """Return when it is open."""
        del random
        self.reached.set()
        await self.opened.wait()


Fault = Callable[["Passage"], Awaitable[None]]


@dataclass(frozen=True)
class Hold:
    """Keep the request, and all behind it on its connection, until then; it goes even if its client has left."""

    until: When

    async def __call__(self, passage: "Passage") -> None:
        """Wait, then forward."""
        passage.note("held")
        await passage.until(self.until)
        await passage.forward()
        passage.note("let go")


@dataclass(frozen=True)
class Repeat:
    """Let the request pass, and deliver the same bytes again then."""

    when: When

    async def __call__(self, passage: "Passage") -> None:
        """Forward now, and once more later."""
        passage.deliver_late(self.when)
        await passage.forward()


@dataclass(frozen=True)
class Stray:
    """Cut the client's connection with the request on its way: the broker gets it then, its client being long gone."""

    when: When

    async def __call__(self, passage: "Passage") -> None:
        """Cut now, deliver later."""
        passage.deliver_late(self.when)
        passage.note("strayed")
        passage.cut()


@dataclass(frozen=True)
class LoseRequest:
    """Cut the client's connection before the broker has seen the request."""

    async def __call__(self, passage: "Passage") -> None:
        """Cut."""
        passage.note("request lost")
        passage.cut()


@dataclass(frozen=True)
class LoseResponse:
    """Let the broker do what was asked, and cut the client's connection instead of an answer."""

    async def __call__(self, passage: "Passage") -> None:
        """Forward, then cut."""
        await passage.forward(swallow_answer=True)
        passage.note("response lost")
        passage.cut()


@dataclass
class Rule:
    """Which requests a fault befalls: those of an api, from the `skip`th on, `times` of them, each with a chance."""

    fault: Fault
    api: Api
    skip: int = 0
    times: int | None = 1  # None: all
    chance: float = 1.0
    where: Callable[[Request], bool] = lambda request: True  # such as: its frame has this transactional id in it

    def takes(self, request: Request, random: Random) -> bool:
        """Whether this one is meant; counts down."""
        if request.api_key != self.api or self.times == 0 or not self.where(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if random.random() >= self.chance:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Proxy:
    """Stands before the broker at `upstream_port` of this machine while it is entered.

    >>> async with Proxy(port, upstream_port, seed=7) as proxy:  # doctest: +SKIP
    ...     gate = Gate()
    ...     proxy.rules.append(Rule(Repeat(gate), Api.END_TXN))
    """

    def __init__(self, port: int, upstream_port: int, *, seed: int = 0, host: str = "127.0.0.1") -> None:
        self.host, self.port, self.upstream_port = host, port, upstream_port
        self.random = Random(seed)
        self.rules: list[Rule] = []
        self.journal: list[Entry] = []
        self.seen: Counter[tuple[int, int]] = Counter()  # requests by api key and version
        self.late_answers: asyncio.Queue[bytes] = asyncio.Queue()  # the broker's, to what was delivered late
        self.bytes_per_second: float | None = None  # of each connection, each way; None: as fast as it goes
        self._moving = asyncio.Event()
        self._moving.set()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []  # our own, not the network's
        self._count = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._began_s = time.monotonic()
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything; what is still to be delivered late never is."""
        self._server.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._failures:
            raise self._failures[0]

    def be_kind(self) -> None:
        """Forget all rules, and what happened; let everything pass."""
        self.rules.clear()
        self.journal.clear()
        self.seen.clear()
        self.late_answers = asyncio.Queue()
        self.bytes_per_second = None
        self._moving.set()

    def cut_all(self) -> None:
        """Cut every connection that stands now."""
        self.note(f"cut {len(self._links)} connections")
        for link in self._links:
            link.cut()

    def freeze(self) -> None:
        """Let nothing pass either way; connections stand, and new ones are taken."""
        self.note("frozen")
        self._moving.clear()

    def thaw(self) -> None:
        """Let pass what has gathered, and all that follows."""
        self.note("thawed")
        self._moving.set()

    def happened(self, what: str, api: Api | None = None) -> list[Entry]:
        """Return what the proxy did of this kind, to requests of this api."""
        return [
            entry
            for entry in self.journal
            if entry.what == what and (api is None or (entry.request and entry.request.api_key == api))
        ]

    def note(self, what: str, request: Request | None = None) -> None:
        """Write into the journal."""
        self.journal.append(Entry(time.monotonic() - self._began_s, what, request))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the broker."""
        return await asyncio.open_connection(self.host, self.upstream_port)

    async def let(self, chunk_bytes: int) -> None:
        """Return when so many bytes may pass."""
        await self._moving.wait()
        if self.bytes_per_second:
            await asyncio.sleep(chunk_bytes / self.bytes_per_second)

    def fault_for(self, request: Request) -> Fault | None:
        """Count the request, and return what is to befall it."""
        self.seen[request.api_key, request.version] += 1
        return next((rule.fault for rule in self.rules if rule.takes(request, self.random)), None)

    def deliver_late(self, request: Request, when: When) -> None:
        """Send the request's bytes on a connection of their own when the time has come."""
        self._keep(asyncio.create_task(self._deliver_late(request, when)))

    async def _deliver_late(self, request: Request, when: When) -> None:
        await when.wait(self.random)
        try:
            reader, writer = await self.connect()
            try:
                writer.write(request.frame)
                answer = await _frame(reader)
            finally:
                await _close(writer)
        except (OSError, EOFError) as error:
            self.note(f"not delivered: {error!r}", request)
            return
        self.note("delivered late", request)
        self.late_answers.put_nowait(answer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client. A task of ours: asyncio's own for it would be cancelled by nobody."""
        self._count += 1
        link = Link(self, self._count, reader, writer)
        self._links.add(link)
        task = asyncio.create_task(link.run())
        self._keep(task)
        task.add_done_callback(lambda _: self._links.discard(link))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failures.append(failure)


class Link:
    """One client's connection, and the one to the broker that goes with it."""

    def __init__(self, proxy: Proxy, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.number = proxy, number
        self._client_in, self._client_out = reader, writer
        self._awaited: dict[int, asyncio.Event] = {}  # answers on their way, by correlation id
        self._swallowed: set[int] = set()
        self._is_cut = False

    async def run(self) -> None:
        """Carry everything until one side ends."""
        try:
            self._broker_in, self._broker_out = await self.proxy.connect()
        except OSError:
            self.cut()  # as a broker that is down does
            await _close(self._client_out)
            return
        answers = asyncio.create_task(self._carry_answers())
        try:
            await self._carry_requests()
            async with asyncio.timeout(GRACE_SECONDS):  # the broker must not lose what it was asked last
                for answered in [*self._awaited.values()]:
                    await answered.wait()
        except (OSError, TimeoutError):
            pass
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            await _close(self._client_out)
            await _close(self._broker_out)

    def cut(self) -> None:
        """Cut the client's connection: no farewell, nothing that waits to be sent, and nothing that came after."""
        self._is_cut = True
        self._client_out.transport.abort()

    async def forward(self, request: Request, *, swallow_answer: bool = False) -> None:
        """Send the request to the broker; with `swallow_answer`, return when the broker has answered."""
        answered = self._awaited[request.correlation_id] = asyncio.Event()
        if swallow_answer:
            self._swallowed.add(request.correlation_id)
        await self.proxy.let(len(request.frame))
        self._broker_out.write(request.frame)
        await self._broker_out.drain()
        if swallow_answer:
            await answered.wait()

    async def _carry_requests(self) -> None:
        with suppress(EOFError):
            while not self._is_cut:
                request = Request.of(self.number, await _frame(self._client_in))
                fault = self.proxy.fault_for(request)
                await (fault(Passage(self, request)) if fault else self.forward(request))

    async def _carry_answers(self) -> None:
        try:
            while True:
                frame = await _frame(self._broker_in)
                await self.proxy.let(len(frame))
                (correlation_id,) = struct.unpack_from(">i", frame, 4)
                if correlation_id not in self._swallowed and not self._client_out.is_closing():
                    self._client_out.write(frame)
                    with suppress(OSError):  # its client has left, others' answers are still awaited
                        await self._client_out.drain()
                if answered := self._awaited.pop(correlation_id, None):
                    answered.set()
        except (OSError, EOFError):
            self.cut()  # the broker has: pass it on
            for answered in self._awaited.values():
                answered.set()


@dataclass(frozen=True)
class Passage:
    """A request on its way through, in the hands of a fault."""

    link: Link
    request: Request

    async def forward(self, *, swallow_answer: bool = False) -> None:
        """Send it on; with `swallow_answer`, return when the broker has answered, and keep that from the client."""
        await self.link.forward(self.request, swallow_answer=swallow_answer)

    async def until(self, when: When) -> None:
        """Wait for it."""
        await when.wait(self.link.proxy.random)

    def deliver_late(self, when: When) -> None:
        """Send its bytes then, on a connection of their own."""
        self.link.proxy.deliver_late(self.request, when)

    def cut(self) -> None:
        """Cut its client's connection."""
        self.link.cut()

    def note(self, what: str) -> None:
        """Write into the journal."""
        self.link.proxy.note(what, self.request)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Read one request or answer, its size included. Raises EOFError at the end, OSError where it was cut."""
    head = await reader.readexactly(4)
    (size,) = struct.unpack(">i", head)
    if not 4 <= size <= FRAME_BYTES_MAX:
        raise ConnectionError(f"{size} bytes are no frame of Kafka's")
    return head + await reader.readexactly(size)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
