"""`/events`: what changes in the group's windows, as server-sent events; each is encoded once, for all streams."""

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from processors.aggregates import LIQUIDATION_VOLUME
from processors.views import access
from processors.views.board import Cell
from processors.views.event_bytes import Piece, event, first_bytes
from processors.views.event_pace import Pace
from processors.views.group import Group
from processors.views.parameters import takes_gzip
from processors.views.problems import BadRequestError, BusyError

log = structlog.get_logger(__name__)

STREAMS_MAX = 500
#: Windows in one event; what does not fit waits for the next, those first that have waited longest.
WINDOWS_MAX = 1_000
HEALTH_SECONDS = 1.0
#: A new stream gets the health at once, this old at most, as many may come at the same time.
HEALTH_AGE_SECONDS_MAX = 0.1
#: What may wait for a slow reader. One that is further behind gets nothing until it has read that, and then a `reset`.
UNREAD_BYTES_MAX = 1 << 20
BEHIND_SECONDS_MAX = 30.0

HEADERS = {
    **access.HEADERS,
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding",
    "X-Accel-Buffering": "no",  # for proxies that would wait for more
}


_RESET = Piece(event("reset", {}))


class Stream:
    """One open stream; what is sent is written at once, or not at all."""

    def __init__(self, transport: asyncio.Transport, gzip: bool) -> None:
        self.over = asyncio.Event()
        self._transport, self._gzip = transport, gzip
        self._behind_since: float | None = None

    def send(self, piece: Piece, now: float) -> None:
        """Write a piece that was made for all streams, past aiohttp's writer, which would wait for a slow reader."""
        if self._transport.is_closing():
            self.over.set()
        elif self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self._behind_since = self._behind_since or now
            if now - self._behind_since > BEHIND_SECONDS_MAX:
                self._transport.abort()
                self.over.set()
        else:
            if self._behind_since is not None:
                self._behind_since = None
                self._write(_RESET)
            self._write(piece)

    def end(self) -> None:
        """Let it be over, at once where the reader has not read all of it."""
        if self._transport.get_write_buffer_size() > 0:
            self._transport.abort()
        self.over.set()

    def _write(self, piece: Piece) -> None:
        self._transport.write(piece.packed if self._gzip else piece.plain)


class EventStreams:
    """All open streams of this worker, and what is sent to them; each new one is told of by a call of `opened`."""

    def __init__(self, group: Group, opened: Callable[[], None]) -> None:
        self._group, self._board, self._opened = group, group.board, opened
        self._streams: set[Stream] = set()
        self._sending: asyncio.Task[None] | None = None
        self._closed = False
        self._health, self._health_at = b"", -HEALTH_AGE_SECONDS_MAX

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for events; returns when the reader is gone."""
        if request.method == "HEAD":
            return web.Response(headers=HEADERS)
        if request.version < HttpVersion11:
            raise BadRequestError("events are sent in chunks, which need HTTP/1.1")
        if len(self._streams) >= STREAMS_MAX or self._closed:
            raise BusyError(f"{STREAMS_MAX} event streams are open already", retry_after_seconds=5)
        gzip = takes_gzip(request.headers.get("Accept-Encoding", ""))
        response = web.StreamResponse(headers={**HEADERS, "Content-Encoding": "gzip"} if gzip else HEADERS)
        response.enable_chunked_encoding()
        await response.prepare(request)
        hello = {"at_ms": round(time.time() * 1e3), "windows": list(self._board.sizes.values())}
        # Too little to wait for the reader: nothing else happens before the stream is one of all.
        await response.write(first_bytes(event("hello", hello), gzip))
        if request.transport is None:
            return response
        stream = Stream(request.transport, gzip)
        self._streams.add(stream)
        self._opened()
        self._group.rows.touch()
        now = time.monotonic()
        stream.send(Piece(self._health_event(now)), now)
        if self._sending is None:
            self._board.note(True)
            self._sending = asyncio.create_task(self._send())
            self._sending.add_done_callback(self._stopped)
        try:
            await stream.over.wait()
        finally:
            self._streams.discard(stream)
        return response

    async def close(self) -> None:
        """End all streams: those who have read all of theirs get an end, the others would hold the worker up."""
        self._closed = True
        for stream in self._streams:
            stream.end()

    async def _send(self) -> None:
        """Send what changes, for as long as there is anybody to send it to."""
        health_at, pace = time.monotonic(), Pace()
        while self._streams:
            self._group.rows.touch()
            now = time.monotonic()
            events = b""
            changed = self._board.take_changed(WINDOWS_MAX)
            if changed:
                events += event("windows", self._windows(changed))
            if now - health_at >= HEALTH_SECONDS:
                health_at = now
                events += self._health_event(now)
            piece = Piece(events)
            for stream in list(self._streams) if events else ():
                stream.send(piece, now)
            await asyncio.sleep(pace.pause_seconds(now, time.monotonic(), more=len(changed) == WINDOWS_MAX))

    def _health_event(self, now: float) -> bytes:
        if now - self._health_at >= HEALTH_AGE_SECONDS_MAX:
            self._health_at, self._health = now, event("health", self._group.health())
        return self._health

    def _windows(self, changed: list[Cell]) -> Mapping[str, list[msgspec.Raw]]:
        found: dict[str, list[msgspec.Raw]] = {"liquidations": [], "imbalance": []}
        for cell in changed:
            liquidation = cell.window.aggregate == LIQUIDATION_VOLUME.name
            found["liquidations" if liquidation else "imbalance"].append(self._board.encoded(cell))
        return found

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        self._board.note(False)
        for stream in self._streams:  # there are any only if sending failed: their readers come again
            stream.over.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("events.failed", error=repr(task.exception()))
