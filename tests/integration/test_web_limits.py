"""What any client can do to the web server: connections that say nothing, that are many, that do not read."""

import asyncio
import time

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from processors.views import server
from processors.views.events import EventStreams
from tests.integration.test_event_streams import OneBoard

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = bytes(64 << 20)  # more than sockets and buffers take from a server whose client does not read


@pytest.fixture
async def site(monkeypatch):
    """A runner with small limits; `group` and `streams` are what its events tell of, `clients` whoever connected."""
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 10)
    monkeypatch.setattr(server, "IDLE_SECONDS_MAX", 0.5)
    monkeypatch.setattr(server, "STOP_SECONDS_MAX", 0.3)
    app, group = web.Application(), OneBoard()
    streams = EventStreams(group, opened=lambda: None)
    app.router.add_get("/events", streams.serve)
    app.router.add_get("/large", large)
    app.router.add_get("/health", healthy)

    async def close(app):
        await streams.close()

    app.on_shutdown.append(close)
    runner = server.LimitedRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    runner.group, runner.streams, runner.clients = group, streams, []
    yield runner
    await runner.cleanup()
    for client in runner.clients:
        client.transport.abort()


async def large(request):
    return web.Response(body=LARGE)


async def healthy(request):
    return web.Response(text="ok")


async def connect(runner):
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    runner.clients.append(writer)
    return reader, writer


async def ask(runner, path=b"/health"):
    reader, writer = await connect(runner)
    writer.write(REQUEST % path)
    head = await reader.readuntil(b"\r\n\r\n")
    return head[9:12], reader, writer


@pytest.mark.parametrize("said", [b"", b"GET / HT", REQUEST % b"/health"], ids=["nothing", "half", "one request"])
async def test_a_connection_that_says_no_more_is_closed(site, said):
    reader, writer = await connect(site)
    began = time.monotonic()
    writer.write(said)
    async with asyncio.timeout(20):
        await reader.read()  # to its end
    assert time.monotonic() - began > 0.4


async def test_beyond_so_many_connections_new_ones_are_closed_and_those_before_go_on(site):
    before = [await ask(site, b"/events") for _ in range(10)]
    with capture_logs() as logs:
        for _ in range(50):
            reader, writer = await connect(site)
            writer.write(REQUEST % b"/health")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readuntil(b"\r\n\r\n")
    assert [line["event"] for line in logs] == ["web.connections_refused"]  # one line, however many there are
    before.pop()[2].close()
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await ask(site))[0] == b"200"
                break
            except (asyncio.IncompleteReadError, ConnectionError):  # it has not seen yet that one has gone
                await asyncio.sleep(0.01)
    for status, reader, _ in before:
        assert status == b"200"
        await reader.readuntil(b"event: hello")


@pytest.mark.parametrize("path", [b"/events", b"/large"])
async def test_a_client_that_does_not_read_does_not_hold_up_the_end(site, path):
    status, _, writer = await ask(site, path)
    assert status == b"200"
    writer.transport.pause_reading()
    if path == b"/events":
        async with asyncio.timeout(20):
            while not any(stream._transport.get_write_buffer_size() for stream in site.streams._streams):
                site.group.add(*(f"A{number}" for number in range(2_000)))
                await asyncio.sleep(0.05)
    began = time.monotonic()
    await site.cleanup()
    assert time.monotonic() - began < 5
