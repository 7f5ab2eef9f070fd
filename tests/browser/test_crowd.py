"""The dashboard over 5,000 markets and two workers, of which one dies, and then the one that serves the page."""

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from sandbox.ports import free_port
from tests.browser.scene import now_ms, writing_to
from tests.integration.processes import worker
from tests.unit.processors.records import frame, item

MARKETS = 5_000
PREFIX = "crowd"
TOKEN = "a-token-of-the-tests"


class Crowd:
    """Two workers of one group, and what they are sent: all of it at one time, so that it adds up in one window."""

    def __init__(self, broker, folder, writer, stack):
        self._writer, self._at_ms = writer, now_ms()
        self._broker, self._folder, self._stack = broker, folder, stack

    async def start(self, port, *flags):
        """Start a worker that serves the page at a port."""
        begun = worker(self._broker, self._folder, PREFIX, "--web-port", str(port), *flags)
        running = await self._stack.enter_async_context(begun)
        running.web = f"http://127.0.0.1:{port}"
        return running

    async def trade(self, usd):
        """Write a trade of each market: the higher its number, the more is bought."""
        channels = {number: f"futures_trades@Gate_X{number}@0" for number in range(MARKETS)}
        await self._writer.write(
            *(
                frame(item(self._at_ms, usd + number, 2, symbol=f"X{number}"), channel=channels[number])
                for number in channels
            )
        )

    async def liquidate(self, usd):
        """Write a liquidation of a long."""
        await self._writer.write(frame(item(self._at_ms, usd)))


@pytest.fixture(scope="module")
async def crowd(broker, tmp_path_factory):
    async with writing_to(broker, PREFIX) as writer, AsyncExitStack() as stack:
        folder, port = tmp_path_factory.mktemp("crowd"), free_port(in_a_row=2)
        (folder / "token").write_text(f"{TOKEN}\n")
        crowd = Crowd(broker, folder, writer, stack)
        guarded = crowd.start(port + 1, "--web-token-file", str(folder / "token"))
        crowd.serving, crowd.other = await asyncio.gather(crowd.start(port), guarded)
        await asyncio.gather(crowd.serving.until_ready(), crowd.other.until_ready())
        await crowd.liquidate(1_000_000.0)
        await crowd.trade(1_000.0)
        await crowd.serving.until("/imbalance/?windows=1", lambda status, body: len(body.get("windows", ())) >= MARKETS)
        yield crowd


async def test_5000_markets_do_not_stall_it(crowd, page, complaints):
    await page.add_init_script(
        """window.tasks = [];
        new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => one.duration)))
            .observe({ type: "longtask" });"""
    )
    await page.goto(crowd.serving.web)
    await page.locator("#markets-note", has_text="5,000 markets").wait_for()
    await page.locator("#strip-chart[data-drawn]").wait_for()
    await page.evaluate("window.tasks.length = 0")
    for _ in range(3):
        await crowd.trade(10.0)
    await page.locator("#markets-details > summary").click()
    await page.locator("#all-markets tr:nth-child(50)").wait_for()
    assert await page.locator("#all-markets tr").count() == 50
    await page.locator("#market-filter").fill("x4321")
    await page.locator("#markets-rows tr:only-child", has_text="X4321").wait_for()
    total = f"{4 * 4321 + 1_030:,}"
    await page.locator("#all-markets tr", has_text=total).wait_for()
    assert await page.locator("*").count() < 6_000
    assert max(await page.evaluate("window.tasks"), default=0) < 400  # ms; a bound against stalls, not a measurement
    assert complaints == []


async def test_a_worker_with_a_token_shows_nothing_without_it(crowd, page, complaints):
    await page.goto(crowd.other.web)
    await page.locator("#token-form").wait_for()
    assert not await page.locator("main").is_visible()
    await page.locator("#token").fill("wrong")
    await page.keyboard.press("Enter")
    await page.locator("#token-said", has_text="refused").wait_for()
    await page.locator("#token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.locator("#tile-long", has_text="$").wait_for()
    assert not await page.locator("#token-form").is_visible()
    assert TOKEN not in page.url
    assert [text for text in complaints if "401" not in text] == []


async def test_the_page_of_one_worker_goes_on_when_the_other_is_killed(crowd, page, complaints):
    await page.goto(crowd.serving.web)
    await page.locator("#health-members", has_text="2").wait_for()
    await page.locator("#partitions-details > summary").click()
    crowd.other.process.kill()
    await crowd.liquidate(2_000_000.0)
    await crowd.trade(500_000.0)
    await page.locator("#lag", has_text="Behind: partitions").wait_for()
    await page.locator("#lag").wait_for(state="hidden", timeout=20_000)
    await page.locator("#tile-long", has_text="$3M").wait_for()
    await page.locator("#tile-market", has_text="Gate X4999").wait_for()
    await page.locator("#members tr:only-child").wait_for()
    assert await page.locator("#state[data-state=live]").count() == 1
    assert [text for text in complaints if "503" not in text] == []


async def test_the_page_survives_its_workers_restart_and_fills_what_it_missed(crowd, page, complaints):
    await page.goto(crowd.serving.web)
    await page.locator("#state[data-state=live]").wait_for()
    await page.locator("#tile-long", has_text="$").wait_for()
    await page.evaluate("window.before = true")
    port = int(crowd.serving.web.rpartition(":")[2])
    await crowd.serving.stop(signal.SIGTERM)
    await page.locator("#state-text", has_text="not connected, trying again").wait_for()
    assert await page.locator("main.stale").count() == 1
    await crowd.liquidate(70_000_000.0)
    crowd.serving = await crowd.start(port)
    await page.locator("#state[data-state=live]").wait_for(timeout=20_000)
    await page.locator("#tile-long", has_text="$7").wait_for()
    assert await page.locator("main.stale").count() == 0
    assert await page.evaluate("window.before")
    assert [text for text in complaints if "ERR_" not in text and "503" not in text] == []
