"""The page's pure parts, in the browser that runs them."""

import pytest

from tests.browser.pretended import NOON


@pytest.fixture
async def run(shown, page):
    """Runs the body of an async function with a module of the page as `m`."""
    worker, _ = shown
    await page.goto(f"{worker.web}/health")

    async def run_in_page(module, body):
        return await page.evaluate(f"async () => {{ const m = await import('/dashboard/{module}.js'); {body} }}")

    return run_in_page


async def test_names_show_what_would_hide_or_turn_text(run):
    names = ["BTC\u202eTDSU", "a\u0000b\u200bc\nd", "\ud800", "\u05d0\u05d1", "<b>&amp;</b>"]
    shown = await run("format", f"return {names!r}.map(m.plain)")
    assert shown == [
        "BTC⟨U+202E⟩TDSU", "a⟨U+0000⟩b⟨U+200B⟩c⟨U+000A⟩d", "⟨U+D800⟩", "\u05d0\u05d1", "<b>&amp;</b>",
    ]  # fmt: skip


async def test_numbers_of_any_size_fit(run):
    texts = await run(
        "format",
        """return [
            [0, 999.4, 1234567, 1e200].map(m.usd),
            [0, 1234, 1234567890, 1e200].map(m.compactUsd),
            [0.00001234, 61234.5, 1e-100, 1e200].map(m.price),
            [null, 0, 0.5, 0.99999, 1].map(m.share),
            [-1, 0, 0.255].map(m.signedShare),
            [-5, 400, 59000, 3600000, 36000000].map(m.duration),
        ];""",
    )
    assert texts == [
        ["0", "999", "1,234,567", "1.00e+200"],
        ["$0", "$1.23K", "$1.23B", "$1.0e+200"],
        ["0.00001234", "61,234.5", "1.0000e-100", "1.0000e+200"],
        ["\N{EN DASH}", "0%", "50%", "99.9%", "100%"],
        ["-100%", "0%", "+26%"],
        ["0 s", "0.4 s", "59 s", "60 min", "10 h"],
    ]


async def test_times_of_windows_of_any_size_are_told_from_each_other(run):
    sizes = {
        "7d": 604_800_000, "1d": 86_400_000, "36h": 129_600_000, "1h": 3_600_000, "1m": 60_000, "90s": 90_000,
        "1s": 1_000, "100ms": 100,
    }  # fmt: skip
    got = await run(
        "format",
        f"""
        const sizes = {list(sizes.values())};
        const rows = (ms) => Array.from({{ length: 60 }}, (_, at) => m.windowTime({NOON} - at * ms, ms));
        return [
            sizes.map((ms) => m.windowTime({NOON}, ms)),
            sizes.map(m.tickFormat),
            sizes.map((ms) => new Set(rows(ms)).size),
        ];""",
    )
    assert got == [
        ["2026-09-22", "2026-09-22", "2026-09-22 12:00", "2026-09-22 12:00", "12:00", "12:00:00",
         "12:00:00", "12:00:00.000"],
        ["%Y-%m-%d", "%Y-%m-%d", "%b %d, %H:%M", "%b %d, %H:%M", "%H:%M", "%H:%M:%S",
         "%H:%M:%S", "%H:%M:%S.%L"],
        [60] * len(sizes),
    ]  # fmt: skip


async def test_a_moment_of_another_day_has_its_date(run):
    got = await run("format", f"return [0, 86400000].map((ago) => m.moment({NOON} - ago, {NOON} + 1000))")
    assert got == ["12:00:00", "2026-09-21 12:00:00"]


WINDOWS = """
    const window = (start, final, count, revision = 0) => ({
        asset: "BTC", window_start: start, final, revision, long_count: count, short_count: 0, long_usd: count,
    });
"""


async def test_of_two_states_of_a_window_the_newer_stays_whichever_comes_first(run):
    kept = await run(
        "windows",
        f"""{WINDOWS}
        const states = [window(0, false, 1), window(0, false, 2), window(0, true, 2), window(0, true, 2, 1)];
        const orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 2, 1, 3]];
        return orders.map((order) => {{
            const all = new m.Windows("liquidations", 60);
            for (const at of order) all.take(states[at]);
            const last = all.series.get("BTC").windows.get(0);
            return [last.revision, last.final, last.long_count];
        }});""",
    )
    assert kept == [[1, True, 2]] * 4


async def test_a_series_that_nobody_watches_keeps_little_and_one_that_is_watched_a_charts_span(run):
    sizes = await run(
        "windows",
        f"""{WINDOWS}
        const all = new m.Windows("liquidations", 2);
        const take = () => {{ for (let at = 0; at < 100; at += 1) all.take(window(at * 60000, true, 1)); }};
        const size = () => all.series.get("BTC").windows.size;
        take();
        const before = size();
        const begun = all.watch(new Set(["BTC"])).length;
        take();
        const watched = size();
        all.watch(new Set());
        return [before, begun, watched, size(), Math.min(...all.series.get("BTC").windows.keys())];""",
    )
    assert sizes == [2, 1, 60, 2, 98 * 60_000]


async def test_quiet_missing_and_unknown_are_told_apart(run):
    states = await run(
        "heard",
        """
        const M = 60000;
        const heard = new m.Heard();
        const say = (channel, start, window) => {
            const share = heard.share(channel, start, start + M, window);
            return [share, m.stateOf(window, share, false)];
        };
        const out = [say("liquidations", 0)];
        heard.takeGaps([
            { from: 2 * M, to: 4 * M, channels: ["liquidationOrders", "futures_trades@Gate_BTC_USDT@10000.0"] },
            { from: 2.5 * M, to: 4.25 * M, channels: ["liquidation_orders"] },
        ]);
        heard.takeWindow({ window_start: M, coverage: null });
        heard.takeHealth({
            at_ms: 20 * M,
            partitions: [{ stale_ms: 90000 }, { stale_ms: 0 }, { stale_ms: null }],
            feed: [{
                up: true,
                heard_at_ms: 20 * M - 1000,
                channels: ["liquidationOrders", "futures_trades@Gate_BTC_USDT@10000"],
            }],
        });
        out.push(
            say("liquidations", 0), say("liquidations", M), say("liquidations", 3 * M), say("liquidations", 4 * M),
            say("Gate_BTC_USDT@10000", 3 * M), say("Gate_BTC_USDT@10000", 4 * M), say("Gate_BTC_USDT@0", 4 * M),
            say("liquidations", 3 * M, { final: true, coverage: 0.25 }),
            say("liquidations", 3 * M, { final: true, coverage: null }),
        );
        heard.takeWindow({ asset: "BTC", window_start: 3 * M, coverage: 0.75 });
        out.push(say("liquidations", 3 * M));
        return out;""",
    )
    assert states == [
        [None, "unknown"],  # nothing is known yet
        [None, "unknown"],  # before anything was known
        [1, "quiet"],
        [0, "unheard"],
        [0.75, "partly"],
        [0, "unheard"],  # another spelling of the channel's smallest volume
        [1, "quiet"],
        [None, "unknown"],  # no connection has this channel
        [0.25, "partly"],  # a final knows best
        [None, "final"],
        [0.75, "partly"],  # and speaks for its channel
    ]


async def test_a_silent_feed_is_a_gap_that_is_open_unless_the_worker_is_behind(run):
    gaps = await run(
        "heard",
        """
        const open = (up, heardAgoMs, staleMs) => {
            const heard = new m.Heard();
            heard.takeGaps([]);
            const feed = [{ up, heard_at_ms: 1000000 - heardAgoMs, channels: ["liquidationOrders"] }];
            heard.takeHealth({ at_ms: 1000000, partitions: [{ stale_ms: staleMs }], feed });
            return heard.openGaps().map(({ from, to, channels }) => [from, to, ...channels]);
        };
        const cases = [
            [true, 2000, 0], [true, 6000, 0], [false, 2000, 0],
            [true, 6000, 5000], [false, 20000, 19500], [false, 20000, null],
        ];
        return cases.map((one) => open(...one));
        """,
    )
    silent, down = ([since, 1_000_000, "liquidations"] for since in (994_000, 998_000))
    assert gaps == [[], [silent], [down], [], [], []]


async def test_events_are_read_however_they_are_cut(run):
    read = await run(
        "stream",
        r"""
        const text = 'event: hello\ndata: {"at_ms":1}\n\n: still here\n\n'
            + 'event: windows\ndata: {"a":"ü"}\n\nevent: cut\ndata: {"';
        const bytes = new TextEncoder().encode(text);
        const out = [];
        for (const size of [1, 7, bytes.length]) {
            const body = new ReadableStream({
                start(to) {
                    for (let at = 0; at < bytes.length; at += size) to.enqueue(bytes.slice(at, at + size));
                    to.close();
                },
            });
            const events = [];
            for await (const one of m.eventsOf(body)) events.push([one.event, one.data]);
            out.push(events);
        }
        return out;""",
    )
    assert read == [[["hello", {"at_ms": 1}], [None, None], ["windows", {"a": "ü"}]]] * 3


async def test_waiting_between_two_tries_grows_to_a_bound_and_is_spread(run):
    waits = await run(
        "live", "return [1, 2, 3, 20].map((failures) => [m.backoffMs(failures, 0), m.backoffMs(failures, 1)])"
    )
    assert waits == [[250, 500], [500, 1_000], [1_000, 2_000], [5_000, 10_000]]


async def test_the_highest_of_many_are_found_without_sorting(run):
    top = await run("windows", "return m.highest([3, 1, 4, 1, 5, 9, 2, 6], 3, (one) => one)")
    assert top == [9, 6, 5]


async def test_ticks_are_round_and_reach_the_highest_bar(run):
    scales = await run("figures", "return [0, 7, 1234, 5e6].map(m.scale)")
    assert [scale["ticks"] for scale in scales] == [
        [0], [-10, -5, 0, 5, 10], [-2_000, -1_000, 0, 1_000, 2_000], [-5e6, -2.5e6, 0, 2.5e6, 5e6],
    ]  # fmt: skip
    assert all(scale["end"] >= most for scale, most in zip(scales, [0, 7, 1234, 5e6], strict=True))


ANSWERS = """
    const asked = [];
    const answer = (status, body) =>
        new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
    // A worker with `assets` windows of each minute, of which it gives no more than 50,000 at once.
    const serve = (assets) => {
        window.fetch = async (path) => {
            const query = new URL(path, location).searchParams;
            const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
            asked.push([from / 60000, to / 60000]);
            const count = (to - from) / 60000;
            if (count * assets > 50000) return answer(400, { error: "that is more than 50000 windows" });
            return answer(200, { windows: Array.from({ length: count }, (_, at) => from / 60000 + at) });
        };
    };
"""


MODEL = """
    const { Model } = await import("/dashboard/model.js");
    const model = new Model();
    model.useSize("1m");
"""


async def test_a_range_that_is_refused_is_asked_for_in_halves_one_after_the_other(run):
    got = await run(
        "ranges",
        f"""{ANSWERS}
        serve(2000);
        return [await m.windowsIn("/liquidations/?window=1m", 0, 61 * 60000, 60000), asked];""",
    )
    assert got == [list(range(61)), [[0, 61], [0, 30], [0, 15], [15, 30], [30, 61], [30, 45], [45, 61]]]


async def test_a_window_that_is_refused_is_not_asked_for_again(run):
    got = await run(
        "ranges",
        f"""{ANSWERS}
        serve(60000);
        const windows = m.windowsIn("/liquidations/?window=1m", 0, 61 * 60000, 60000);
        const said = await windows.catch((error) => error.message);
        return [said, asked.length, asked.at(-1)];""",
    )
    assert got == ["that is more than 50000 windows", 6, [0, 1]]


async def test_lists_that_fail_are_asked_for_again_and_ones_that_are_refused_are_not(run):
    got = await run(
        "loader",
        f"""{ANSWERS}{MODEL}
        const troubles = [];
        const loader = new m.Loader(model, {{ changed: () => {{}}, trouble: (text) => troubles.push(text) }});
        window.setTimeout = (done) => done();
        const whole = [answer(500, {{ error: "broken" }})];
        window.fetch = async (path) => {{
            if (path.startsWith("/liquidations/")) return whole.pop() ?? answer(400, {{ error: "refused" }});
            asked.push(path.split("?")[0]);
            return answer(200, {{ gaps: [], windows: [] }});
        }};
        await loader.lists();
        return [troubles, asked, model.shown.liquidationsFromMs === Infinity];""",
    )
    troubles = [f"Not all of it can be shown now: {why}." for why in ("broken", "refused")]
    assert got == [troubles, ["/imbalance/", "/gaps/"] * 2, True]


@pytest.mark.parametrize(("markets", "newest"), [(500, 60), (501, 10)])
async def test_among_very_many_markets_few_windows_are_asked_for_but_of_the_chosen_one(run, markets, newest):
    got = await run(
        "loader",
        f"""{ANSWERS}{MODEL}
        const start = model.runningMs();
        const market = (number) => ({{
            window: "1m", window_start: start, final: false, revision: 0, exchange: "Gate", symbol: `X${{number}}`,
            min_vol_usd: 0,
        }});
        model.takeWindows("imbalance", Array.from({{ length: {markets} }}, (_, at) => market(at)));
        const loader = new m.Loader(model, {{ changed: () => {{}}, trouble: () => {{}} }});
        window.fetch = async (path) => {{
            asked.push(path.replace(/from=\\d+/, "from="));
            return answer(200, {{ windows: [] }});
        }};
        const [one, other] = model.imbalance.series.values();
        await loader.history(one, false);
        await loader.history(other, true);
        return asked;""",
    )
    asked = ["X0/?window=1m&windows=", "X0/?window=1m&from=", "X1/?window=1m&windows=", "X1/?window=1m&from="]
    expected = [f"/imbalance/Gate/{one}{newest if one.endswith('windows=') else ''}" for one in asked]
    assert got == [one for one in expected if markets == 500 or "X0/?window=1m&from=" not in one]


async def test_what_was_heard_before_the_chart_begins_is_forgotten(run):
    kept = await run(
        "model",
        """
        const model = new m.Model();
        model.useSize("1m");
        const health = (at_ms) => ({ at_ms, feed: [], members: [], partitions: [], counts: { frames: 0 } });
        for (let at = 0; at < 200; at += 1) {
            model.heard.takeWindow({ asset: "BTC", window_start: at * 60000, coverage: 1 });
            model.takeHealth(health(at * 60000 + 1000));
        }
        return [...model.heard.liquidations.keys()].map((start) => start / 60000);""",
    )
    assert kept == list(range(140, 200))
