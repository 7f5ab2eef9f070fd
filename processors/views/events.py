"""`/events`: what changes in the group's windows, as server-sent events; each is encoded once, for all streams."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from processors.aggregates import LIQUIDATION_VOLUME
from processors.views import access
from processors.views.board import Cell
from processors.views.group import Group
from processors.views.problems import BadRequestError, BusyError

log = structlog.get_logger(__name__)

STREAMS_MAX = 500
#: Between two looks at what has changed: as long as keeps the share of time that goes into sending, in these bounds.
SENDING_SHARE_MAX = 0.05
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 0.2
#: Windows in one event; what does not fit waits for the next, those first that have waited longest.
WINDOWS_MAX = 1_000
HEALTH_SECONDS = 1.0
#: What may wait for a slow reader. One that is further behind gets nothing until it has read that, and then a `reset`.
UNREAD_BYTES_MAX = 1 << 20
BEHIND_SECONDS_MAX = 30.0

HEADERS = {
    **access.HEADERS,
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # for proxies that would wait for more
}


def event(name: str, data: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def chunk(body: bytes) -> bytes:
    """Return a piece of a body as HTTP's chunked encoding has it."""
    return b"%x\r\n%s\r\n" % (len(body), body)


_RESET = chunk(event("reset", {}))


class Stream:
    """One open stream; what is sent is written at once, or not at all."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.over = asyncio.Event()
        self._transport = transport
        self._behind_since: float | None = None

    def send(self, piece: bytes, now: float) -> None:
        """Write a chunk that was made for all streams, past aiohttp's writer, which would wait for a slow reader."""
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
                self._transport.write(_RESET)
            self._transport.write(piece)


class EventStreams:
    """All open streams of this worker, and what is sent to them."""

    def __init__(self, group: Group) -> None:
        self._group, self._board = group, group.board
        self._streams: set[Stream] = set()
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for events; returns when the reader is gone."""
        if request.method == "HEAD":
            return web.Response(headers=HEADERS)
        if request.version < HttpVersion11:
            raise BadRequestError("events are sent in chunks, which need HTTP/1.1")
        if len(self._streams) >= STREAMS_MAX or self._closed:
            raise BusyError(f"{STREAMS_MAX} event streams are open already", retry_after_seconds=5)
        response = web.StreamResponse(headers=HEADERS)
        response.enable_chunked_encoding()
        await response.prepare(request)
        hello = {"at_ms": round(time.time() * 1e3), "windows": list(self._board.sizes.values())}
        await response.write(event("hello", hello))
        if request.transport is None:
            return response
        stream = Stream(request.transport)
        self._streams.add(stream)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
            self._sending.add_done_callback(self._stopped)
        try:
            await stream.over.wait()
        finally:
            self._streams.discard(stream)
        return response

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        for stream in self._streams:
            stream.over.set()

    async def _send(self) -> None:
        """Send what changes, for as long as there is anybody to send it to."""
        self._board.note(True)
        health_at = 0.0
        while self._streams:
            self._group.rows.touch()
            now = time.monotonic()
            pieces = []
            changed = self._board.take_changed(WINDOWS_MAX)
            if changed:
                pieces.append(chunk(event("windows", self._windows(changed))))
            if now - health_at >= HEALTH_SECONDS:
                health_at = now
                pieces.append(chunk(event("health", self._group.health())))
            for stream in list(self._streams) if pieces else ():
                stream.send(b"".join(pieces), now)
            spent_seconds = time.monotonic() - now
            await asyncio.sleep(min(max(spent_seconds / SENDING_SHARE_MAX, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX))

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
