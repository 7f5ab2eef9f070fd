"""A real Chromium, driven by Playwright: one for the whole folder; the pages are served by real workers."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, async_playwright

from tests.browser.scene import HOSTILE_MARKETS, MARKETS, MINUTES, Market, market_scene
from tests.integration.processes import Worker, worker

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def pytest_runtest_setup() -> None:
    """Skip these tests where there is no browser: here, so that pytest tells of all of them in one line."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[BrowserContext]:
    """One browser for all tests, which keeps what it has loaded."""
    async with async_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root otherwise
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield await browser.new_context(viewport={"width": 1240, "height": 900}, color_scheme="dark")
        await browser.close()


class Complaints(list[str]):
    """What a page said to its console, threw, or tried against its Content-Security-Policy."""

    def listen(self, page: Page) -> None:
        """Take note of all that this page says."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.append(f"thrown: {error}"))
        page.on("dialog", lambda dialog: self.append(f"dialog: {dialog.message}"))

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium looks for an icon of its own where a page names none, as JSON does.
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            self.append(message.text)


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
async def page(chromium: BrowserContext, complaints: Complaints) -> AsyncIterator[Page]:
    """A new page."""
    opened = await chromium.new_page()
    opened.set_default_timeout(20_000)
    complaints.listen(opened)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def shown(broker: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Worker, Market]]:
    """A worker that has read an hour of a market, and goes on hearing it."""
    folder = tmp_path_factory.mktemp("shown")
    async with market_scene(broker, "browser") as market, worker(broker, folder, market.prefix) as running:
        last = market.minute(MINUTES - 1)
        for path, count in (("/liquidations/BTC/", 1), ("/imbalance/", len(MARKETS) + len(HOSTILE_MARKETS))):
            await running.until(
                f"{path}?windows=1",
                lambda status, body, count=count: (
                    status == 200 and [window["window_start"] for window in body["windows"]] == [last] * count
                ),
            )
        yield running, market
