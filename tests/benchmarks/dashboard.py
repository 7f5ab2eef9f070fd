"""How soon a record is seen, and what the page costs the machine that shows it: a real worker, a real Chromium.

    python -m tests.benchmarks.dashboard --rate 1000 --markets 5000

visible  from handing a record to the producer to its number on an open page, and to the bars that have it
page     CPU of the page's main thread, of all it does and of scripts alone; its longest task

Probes are liquidations of an asset of its own, which the page is set to chart; the number of orders tells which of them
it shows. All clocks are this machine's.
"""

import asyncio
import random
import time
import uuid

import msgspec
from aiokafka import AIOKafkaProducer
from playwright.async_api import async_playwright

from schemas.channels import LIQUIDATIONS
from schemas.topics import Topics
from tests.benchmarks import loading
from tests.benchmarks.brokers import given_or_embedded
from tests.benchmarks.command import in_a_folder, options, save
from tests.benchmarks.latency import percentiles
from tests.browser.conftest import CHROMIUM
from tests.integration.processes import worker

PROBE = "PROBE"
PROBES_PER_SECOND = 20
WARM_UP_SECONDS = 5
SETTLE_SECONDS = 3
LATE_MS = 500

# Notes when the page first shows so many orders of the probes' asset in a minute, in words and in bars.
WATCH = """() => {
    const seen = { words: {}, bars: {} };
    window.seen = seen;
    const readout = document.getElementById("liquidations-readout");
    const note = (of) => {
        const found = /^(\\d\\d:\\d\\d) UTC.*?, ([\\d,]+) orders/.exec(readout.textContent);
        if (found) of[`${found[1]} ${found[2].replaceAll(",", "")}`] ??= Date.now();
    };
    new MutationObserver(() => note(seen.words)).observe(readout, { childList: true });
    new MutationObserver(() => note(seen.bars)).observe(
        document.getElementById("liquidations-chart"), { attributeFilter: ["data-drawn"] });
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration);
    }).observe({ type: "longtask" });
}"""


class Load:
    """Frames of so many markets at a steady rate, a fifth of them liquidations, and probes between them."""

    def __init__(self, producer, topics, rate, markets):
        self.probes = []  # (minute, how many in it, sent at UTC ms)
        self._producer, self._topics = producer, topics
        self._rate, self._chance, self._markets = rate, random.Random(7), markets

    async def run(self, seconds, *, probes=False):
        """Send for so long."""
        began, sent = time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds:
            due = int((now - began) * self._rate) - sent
            for _ in range(due):
                sent += 1
                await self._send(*self._frame())
                if probes and sent % (self._rate // PROBES_PER_SECOND) == 0:
                    await self._probe()
            await asyncio.sleep(0.005)

    async def _send(self, topic, channel, data):
        frame = msgspec.json.encode({"channel": channel, "data": [data]})
        await self._producer.send(topic, frame, key=channel.encode(), timestamp_ms=data["time"])

    def _frame(self):
        number = self._chance.randrange(self._markets)
        if self._chance.random() < 0.2:
            return self._topics.raw_liquidations, LIQUIDATIONS, self._record(f"A{number % 300}", 50)
        return self._topics.raw_trades, f"futures_trades@Bench_X{number}@10000", self._record(f"X{number}", 10_000)

    async def _probe(self):
        record = self._record(PROBE, 1)
        minute = record["time"] // 60_000
        number = 1 + sum(1 for one in self.probes if one[0] == minute)
        self.probes.append((minute, number, time.time() * 1e3))
        await self._send(self._topics.raw_liquidations, LIQUIDATIONS, record)

    def _record(self, asset, least):
        return {
            "baseAsset": asset,
            "exName": "Bench",
            "price": round(self._chance.uniform(1, 2), 4),
            "side": self._chance.randrange(1, 3),
            "symbol": asset,
            "time": int(time.time() * 1e3),
            "volUsd": round(least * self._chance.paretovariate(1.2), 2),
        }


async def page_metrics(session):
    """Return what Chromium counted of the page so far, seconds."""
    return {one["name"]: one["value"] for one in (await session.send("Performance.getMetrics"))["metrics"]}


def seen_after_ms(probes, seen):
    """Return when each probe was sent, UTC ms, and how many ms later a state that held it was shown first."""
    states = {}
    for key, at_ms in seen.items():
        minute, count = key.split()
        states.setdefault(minute, []).append((int(count), at_ms))
    took = []
    for minute, number, sent_ms in probes:
        shown = [
            at_ms for count, at_ms in states.get(f"{minute // 60 % 24:02}:{minute % 60:02}", ()) if count >= number
        ]
        if shown:
            took.append((sent_ms, min(shown) - sent_ms))
    return took


async def measure(broker, args, folder):
    """Return the figures."""
    topics = Topics(f"dashboard-{uuid.uuid4().hex[:8]}")
    await loading.make_topics(broker, topics)
    async with (
        AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True) as producer,
        worker(broker, folder, topics.prefix) as running,
        async_playwright() as playwright,
    ):
        await running.until_ready()
        load = Load(producer, topics, args.rate, args.markets)
        await load.run(WARM_UP_SECONDS, probes=True)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1360, "height": 900})
        feeding = asyncio.create_task(load.run(SETTLE_SECONDS + args.seconds + SETTLE_SECONDS, probes=True))
        await page.goto(running.web)
        await page.locator("#asset-filter").fill(PROBE)
        await page.locator("#assets-rows tr:nth-child(2) input").check()
        await page.locator("#line-chart[data-drawn]").wait_for()
        await page.evaluate(WATCH)
        await asyncio.sleep(SETTLE_SECONDS)
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU, whatever else the machine does
        before, first = await page_metrics(session), len(load.probes)
        drawn = await page.locator("#strip-chart").get_attribute("data-drawn")
        await asyncio.sleep(args.seconds)
        after, last = await page_metrics(session), len(load.probes)
        drawn = int(await page.locator("#strip-chart").get_attribute("data-drawn")) - int(drawn)
        await feeding
        await asyncio.sleep(1)
        seen, longest = await page.evaluate("[window.seen, window.longest]")
        await browser.close()
        assert await running.stop() == 0, running.log.read_text()
    # The page goes on to the next minute with the clock: what came in the last moments of one need not be shown there.
    probes = [one for one in load.probes[first:last] if one[2] % 60_000 < 58_000]
    took = {name: seen_after_ms(probes, seen[name]) for name in ("words", "bars")}
    figures = {name: percentiles([ms for _, ms in of]) for name, of in took.items()}
    for name, of in took.items():
        late = sorted(sent_ms % 60_000 for sent_ms, ms in of if ms > LATE_MS)
        if late:
            print(f"late in {name}: {len(late)}, sent {late[0] / 1e3:.1f} to {late[-1] / 1e3:.1f} s after the minute")
    assert all(one["count"] == len(probes) for one in figures.values()), (figures, len(probes))
    spent = {name: (after[name] - before[name]) / args.seconds for name in ("TaskDuration", "ScriptDuration")}
    heap = after["JSHeapUsedSize"] / 1e6
    return {**figures, "busy": spent, "drawn_per_second": drawn / args.seconds, "longest_ms": longest, "heap_mb": heap}


def main():
    """Measure, print, and write a report."""
    parser = options(__doc__)
    parser.add_argument("--rate", type=int, default=1_000, help="frames a second")
    parser.add_argument("--markets", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=60, help="a minute's turn is always among them")
    args = parser.parse_args()

    async def run(args, folder):
        async with given_or_embedded(args.broker, folder) as broker:
            return await measure(broker, args, folder)

    figures = in_a_folder(run, args)
    for name in ("words", "bars"):
        told = ", ".join(f"{key} {figures[name][key]:.0f} ms" for key in ("p50", "p90", "p99", "max"))
        print(f"visible in {name}: {told}, of {figures[name]['count']} probes")
    busy = figures["busy"]
    print(f"page's main thread: busy {busy['TaskDuration']:.0%}, scripts {busy['ScriptDuration']:.0%}, ", end="")
    print(
        f"longest task {figures['longest_ms']:.0f} ms, strip drawn {figures['drawn_per_second']:.1f} times a second, ",
        end="",
    )
    print(f"{figures['heap_mb']:.0f} MB of script's heap")
    save({"settings": vars(args), **figures}, args.json)


if __name__ == "__main__":
    main()
