"""The dashboard with windows of other lengths than a minute, of a pretended worker."""

import re

import pytest

from tests.browser.pretended import NOON, pretend

SIZES = {
    "7d": (604_800_000, r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\d"),
    "1h": (3_600_000, r"[A-Z][a-z]{2} \d\d, \d\d:\d\d", r"\d{4}-\d\d-\d\d \d\d:\d\d"),
    "1s": (1_000, r"\d\d:\d\d:\d\d", r"\d\d:\d\d:\d\d"),
    "100ms": (100, r"\d\d:\d\d:\d\d\.\d{3}", r"\d\d:\d\d:\d\d\.\d{3}"),
}


@pytest.mark.parametrize("size", SIZES)
async def test_rows_ticks_and_words_tell_windows_from_each_other(shown, page, complaints, size):
    worker, _ = shown
    size_ms, tick, row = SIZES[size]
    await pretend(page, size, size_ms)
    await page.goto(worker.web)
    await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for chart in ("liquidations-chart", "strip-chart", "line-chart"):
        await page.locator(f"#{chart}").scroll_into_view_if_needed()
        await page.locator(f"#{chart}[data-drawn] .xtick").first.wait_for()
        ticks = await page.locator(f"#{chart} .xtick text").all_text_contents()
        assert len(set(ticks)) == len(ticks) > 1, chart
        assert all(re.fullmatch(tick, text) for text in ticks), (chart, ticks)
        assert re.match(f"{row} UTC", await page.locator(f"#{chart}").get_attribute("aria-valuetext")), chart
    for table in ("liquidations-windows", "market-windows"):
        rows = await page.locator(f"#{table} tr th").all_text_contents()
        assert len(set(rows)) == 60, table
        assert all(re.fullmatch(row, text) for text in rows), (table, rows[0])
    assert (await page.locator("#gaps tr").text_content()).startswith("2026-09-21 11:00:0011:59:00")
    assert complaints == []


async def test_gaps_are_asked_for_once_a_minute_where_windows_are_short(shown, page):
    worker, _ = shown
    await page.clock.install(time=NOON / 1_000)
    await pretend(page, "1s", 1_000)
    await page.goto(worker.web)
    await page.clock.run_for(125_000)
    assert await page.evaluate("pretended.asked['/liquidations/']") == 1
    assert await page.evaluate("pretended.asked['/gaps/']") == 3
