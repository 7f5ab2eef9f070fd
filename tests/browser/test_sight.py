"""A page that nobody looks at lets go of its stream: all tabs of a browser share six connections to a worker."""

from tests.browser.pretended import NOON, pretend

LOOK = """
    window.look = (looks) => {
        Object.defineProperty(document, "hidden", { value: !looks, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


async def test_tabs_in_the_background_leave_a_connection_to_the_one_in_front(shown, page):
    worker, _ = shown
    await page.goto(f"{worker.web}/health")
    got = await page.evaluate(
        f"""async () => {{
            {LOOK}
            const {{ follow }} = await import("/dashboard/live.js");
            const states = Array(6).fill("");
            states.forEach((_, at) => follow({{ state: (kind) => {{ states[at] = kind; }}, event: () => {{}} }}, 100));
            const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
            const all = async (kind) => {{
                while (states.some((one) => one !== kind)) await after(10);
                return kind;
            }};
            const out = [await all("live")];
            let answered = false;
            const seventh = fetch("/health").then(() => {{ answered = true; }});
            await after(1000);
            out.push(answered);
            look(false);
            out.push(await all("paused"));
            await seventh;
            look(true);
            return [...out, await all("live")];
        }}"""
    )
    assert got == ["live", False, "paused", "live"]


async def test_a_page_is_paused_after_half_a_minute_and_filled_again_at_once_when_somebody_looks(shown, page):
    worker, _ = shown
    await page.clock.install(time=NOON / 1_000)
    await page.add_init_script(LOOK)
    await pretend(page, "1m", 60_000)
    await page.goto(worker.web)
    await page.locator("#state[data-state=live]").wait_for()
    await page.evaluate("look(false)")
    await page.clock.run_for(20_000)
    await page.evaluate("look(true)")  # a short look at something else
    await page.evaluate("look(false)")
    await page.clock.run_for(20_000)
    assert await page.evaluate("pretended.open") == 1
    await page.clock.run_for(20_000)
    assert (await page.locator("#state-text").text_content()).startswith("paused while nobody looks; what you see is")
    assert await page.evaluate("pretended.open") == 0
    await page.clock.run_for(20_000)
    assert await page.evaluate("[pretended.asked['/events'], pretended.asked['/liquidations/']]") == [1, 1]
    await page.evaluate("look(true)")
    await page.locator("#state[data-state=live]").wait_for()
    assert await page.evaluate("[pretended.asked['/events'], pretended.asked['/liquidations/']]") == [2, 2]
    assert await page.locator("main.stale").count() == 0
