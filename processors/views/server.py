"""The web server's limits: whoever can reach the port, with a token or without, must not be able to stop the worker."""

import asyncio
import resource
from typing import Any

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

#: More than all event streams; each takes one of the files that the process may open.
CONNECTIONS_MAX = 1_000
FILES_WANTED = 16_384
#: For a request to arrive as a whole, and for the next one on the same connection.
IDLE_SECONDS_MAX = 30.0
#: For what is still being answered when the worker stops; aiohttp waits for it, and then as long for its cancelling.
STOP_SECONDS_MAX = 2.0


class LimitedRunner(web.AppRunner):
    """aiohttp's runner with these limits: what comes beyond them is closed without an answer."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=IDLE_SECONDS_MAX, shutdown_timeout=STOP_SECONDS_MAX)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _LimitedServer  # the application makes it, and of no other class
        assert isinstance(server, _LimitedServer)
        server.most = min(CONNECTIONS_MAX, raised_file_limit() // 2)
        return server


class _LimitedServer(web.Server):
    """Makes a protocol for each new connection: beyond the limit one that ends it."""

    most = CONNECTIONS_MAX
    _refusing = False

    def __call__(self) -> Any:
        refusing = len(self.connections) >= self.most
        if refusing and not self._refusing:
            log.warning("web.connections_refused", most=self.most)
        self._refusing = refusing
        return _Refusal() if refusing else super().__call__()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def raised_file_limit() -> int:
    """Raise the limit of open files to what is allowed, and return it: the usual 1,024 is little for both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft
