"""Event streams over a real connection, with rows that the test puts on the board."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from processors.views.board import Board
from processors.views.events import WINDOWS_MAX, EventStreams
from processors.windows import window_sizes
from schemas.durations import parse_duration
from tests.unit.processors.records import NOW_MS, frame, item, pipeline

HERE = ("coinglass.raw.liquidations", 0)


class Rows:
    def touch(self):
        pass


class OneBoard:
    """A group whose rows are those that were put there."""

    def __init__(self):
        self.board, self.rows = Board(window_sizes((parse_duration("1m"),))), Rows()
        self.step = pipeline("1m")
        self.board.replace(HERE, {})

    def add(self, *assets):
        self.step.process([frame(item(NOW_MS, asset=asset)) for asset in assets])
        self.board.apply(HERE, self.step.take().rows)

    def health(self):
        return {"at_ms": NOW_MS}


async def events(response):
    """Read a stream's events."""
    while line := await response.content.readline():
        name, data = line.split()[1].decode(), await response.content.readline()
        await response.content.readline()
        yield name, json.loads(data.removeprefix(b"data: "))


@pytest.fixture
async def site():
    group, opened = OneBoard(), []
    streams = EventStreams(group, opened=lambda: opened.append(1))
    app = web.Application()
    app.router.add_get("/events", streams.serve)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        yield group, opened, client, server.make_url("/events")
        await streams.close()


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_what_changes_from_the_hello_on_is_told_compressed_or_not(site, coding):
    group, opened, client, url = site
    async with client.get(url, headers={"Accept-Encoding": coding}) as response:
        assert response.headers.get("Content-Encoding", "identity") == coding
        stream = events(response)
        assert (await anext(stream))[0] == "hello"
        assert opened == [1]
        assert await anext(stream) == ("health", group.health())  # at once, though others got it a moment ago
        group.add("BTC", "ETH")
        async with asyncio.timeout(5):
            told = await anext(data async for name, data in stream if name == "windows")
        assert [window["asset"] for window in told["liquidations"]] == ["BTC", "ETH"]


async def test_a_burst_that_one_event_does_not_hold_is_told_in_several_that_follow_each_other(site):
    group, _, client, url = site
    async with client.get(url, headers={"Accept-Encoding": "gzip"}) as response:
        stream = events(response)
        await anext(stream)
        assets = [f"A{number}" for number in range(4 * WINDOWS_MAX + 1)]
        group.add(*assets)
        told = []
        async with asyncio.timeout(5):
            async for name, data in stream:
                if name == "windows":
                    assert len(data["liquidations"]) <= WINDOWS_MAX
                    told += [window["asset"] for window in data["liquidations"]]
                if len(told) == len(assets):
                    break
        assert told == assets
