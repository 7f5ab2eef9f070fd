"""A worker that is only pretended, inside the page: for what a real one does too seldom, or takes hours for."""

import json

NOON = 1_790_078_400_000  # 2026-09-22T12:00:00Z

SCRIPT = """
{
    const { atMs, size, sizeMs } = SETTINGS;
    const begun = Date.now();
    const now = () => atMs + Date.now() - begun;
    const gap = { from: atMs - 90000000, to: atMs - 60000, channels: ["liquidationOrders"], why: "" };
    const windowOf = (more) => (start) => ({
        window: size, window_start: start, final: true, revision: 0, coverage: 1, ...more,
    });
    const liquidation = windowOf({
        asset: "BTC", long_usd: 2, short_usd: 1, total_usd: 3, long_count: 1, short_count: 1, largest_usd: 2,
    });
    const imbalance = windowOf({
        exchange: "Gate", symbol: "BTC_USDT", min_vol_usd: 0, buy_usd: 2, sell_usd: 1, imbalance: 0.3,
        buy_count: 1, sell_count: 1, open: 1, high: 1, low: 1, close: 1, vwap: 1,
    });
    const starts = () => {
        const running = Math.floor(now() / sizeMs) * sizeMs;
        return Array.from({ length: 60 }, (_, at) => running - at * sizeMs);
    };
    const text = (name, data) => new TextEncoder().encode(`event: ${name}\\ndata: ${JSON.stringify(data)}\\n\\n`);
    const health = () => ({
        at_ms: now(), feed: [], members: [], partitions: [], counts: { frames: 0 },
    });
    const events = (signal) => {
        pretended.open += 1;
        let beat;
        return new ReadableStream({
            start(to) {
                to.enqueue(text("hello", { at_ms: now(), windows: [size] }));
                beat = setInterval(() => to.enqueue(text("health", health())), 1000);
                signal.addEventListener("abort", () => {
                    clearInterval(beat);
                    pretended.open -= 1;
                    to.error(signal.reason);
                });
            },
            cancel: () => clearInterval(beat),
        });
    };
    window.pretended = { open: 0, asked: {} };
    window.fetch = async (path, { headers, signal } = {}) => {
        new Headers(headers); // throws where a header cannot be
        const place = path.split("?")[0];
        pretended.asked[place] = (pretended.asked[place] ?? 0) + 1;
        if (place === "/events") return new Response(events(signal));
        if (place === "/gaps/") return Response.json({ gaps: [gap] });
        return Response.json({ windows: starts().map(place.startsWith("/imbalance/") ? imbalance : liquidation) });
    };
}
"""


async def pretend(page, size, size_ms, at_ms=NOON):
    """Have the next page of a worker hear of windows of this size, as if it were then."""
    await page.add_init_script(SCRIPT.replace("SETTINGS", json.dumps({"atMs": at_ms, "size": size, "sizeMs": size_ms})))
