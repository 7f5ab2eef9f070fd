"""An hour of a market in the raw topics, the same but for when it is: it ends in the minute that runs."""

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from broker.admin import connected, ensure_topics
from schemas.codec import encoder, single_object_header
from schemas.durations import parse_duration
from schemas.topics import MARK_KEY, Topics
from tests.unit.processors.records import LIQUIDATIONS, frame, item, mark

MINUTE = 60_000
MINUTES = 58
#: Minutes, counted from the first, that nobody heard; and one that was heard, and quiet.
UNHEARD = range(20, 26)
QUIET = 40

IMG = "<img src=x onerror=alert(1)>"
OVERRIDE = "BTC\u202eTDSU"
LONG = "W" * 64
ASSETS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "HYPE", "SUI", "ADA", "LINK", "AVAX")
MARKETS = tuple(
    f"futures_trades@{exchange}_{asset}USDT@10000"
    for exchange in ("Binance", "OKX", "Bybit")
    for asset in ("BTC", "ETH", "SOL", "XRP")
)
HOSTILE = (IMG, OVERRIDE, LONG)
HOSTILE_MARKETS = tuple(f"futures_trades@Binance_{name}@0" for name in HOSTILE)
GAP = encoder("feed_gap", single_object_header("feed_gap"))
CHANNELS = (LIQUIDATIONS, *MARKETS, *HOSTILE_MARKETS)


@dataclass
class Market:
    """What was written, and what it adds up to."""

    prefix: str
    begin_ms: int
    long_usd: dict[tuple[str, int], float] = field(default_factory=dict)  # (asset, minute's start) -> USD
    short_usd: dict[tuple[str, int], float] = field(default_factory=dict)
    net_usd: dict[tuple[str, int], float] = field(default_factory=dict)  # (channel, minute's start) -> USD
    feed: "Feed | None" = None

    def minute(self, number: int) -> int:
        """Return where a minute starts."""
        return self.begin_ms + number * MINUTE


class Writer:
    """Appends records: marks to every partition of both raw topics, frames to the one of their channel."""

    def __init__(self, producer, topics):
        self._producer, self._topics = producer, topics

    async def write(self, *records):
        """Append records in their order; returns once they stand in the log."""
        sent = []
        for one in records:
            if one.key == MARK_KEY:
                places = [(topic, partition) for topic in self._topics.raw for partition in range(4)]
            else:
                liquidation = one.key == LIQUIDATIONS.encode()
                places = [(self._topics.raw_liquidations if liquidation else self._topics.raw_trades, None)]
            for topic, partition in places:
                options = {"key": one.key, "partition": partition, "timestamp_ms": one.timestamp}
                sent.append(await self._producer.send(topic, one.value, **options))
        await asyncio.gather(*sent)

    async def write_gap(self, from_ms, to_ms):
        """Write that nobody heard anything for a time."""
        gap = {"from": from_ms, "to": to_ms, "channels": sorted(CHANNELS), "why": f"the server said {IMG}"}
        await self._producer.send_and_wait(self._topics.feed_gaps, GAP(gap), key=b"gap", timestamp_ms=to_ms)


class Feed:
    """A connection that is heard: a mark a second says so."""

    def __init__(self, writer, connection):
        self._writer, self._connection = writer, connection
        self._beating = asyncio.create_task(self._beat())

    @asynccontextmanager
    async def silence(self):
        """Be gone for a while, and then another connection."""
        await self.end()
        await self._mark("down")
        yield
        self._connection += "'"
        await self._mark("up")
        self._beating = asyncio.create_task(self._beat())

    async def end(self):
        """Write no more marks."""
        self._beating.cancel()
        await asyncio.wait([self._beating])

    async def _beat(self):
        while True:
            await self._mark("alive")
            await asyncio.sleep(1)

    async def _mark(self, kind):
        await self._writer.write(mark(kind, now_ms(), connection=self._connection, channels=CHANNELS))


def now_ms():
    return int(time.time() * 1_000)


@asynccontextmanager
async def writing_to(broker, prefix):
    """Make the topics of a prefix, and yield a writer."""
    topics = Topics(prefix)
    async with connected(broker) as client:
        await ensure_topics(client, [*topics.raw_specs(), *topics.result_specs([parse_duration("1m")])])
    async with AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, linger_ms=10) as producer:
        yield Writer(producer, topics)


@asynccontextmanager
async def market_scene(broker, prefix):
    """Write the market, and go on hearing the feed until the end."""
    now = now_ms()
    market = Market(prefix, now - now % MINUTE - (MINUTES - 1) * MINUTE)
    async with writing_to(broker, prefix) as writer:
        await writer.write(*_records(market, now))
        await writer.write_gap(market.minute(UNHEARD.start), market.minute(UNHEARD.stop))
        market.feed = Feed(writer, "two")
        yield market
        await market.feed.end()


def _records(market, now):
    chance = random.Random(8)
    yield mark("up", market.begin_ms, connection="one", channels=CHANNELS)
    for number in range(MINUTES):
        start = market.minute(number)
        if number == UNHEARD.start:
            yield mark("down", start, connection="one", channels=CHANNELS)
        if number == UNHEARD.stop:
            yield mark("up", start, connection="two", channels=CHANNELS)
        if number in UNHEARD:
            continue
        # Before the minute's frames, which close the last one: it was heard to its end.
        connection = "one" if number < UNHEARD.start else "two"
        yield mark("alive", min(start + 1_000, now), connection=connection, channels=CHANNELS)
        at_ms = now - 1_000 if number == MINUTES - 1 else start + 30_000
        if number != QUIET:
            yield _liquidations(market, chance, start, at_ms)
        for channel in (*MARKETS, *HOSTILE_MARKETS):
            yield _trades(market, chance, start, at_ms, channel)


def _liquidations(market, chance, start, at_ms):
    items = []
    storm = 6 if chance.random() < 0.08 else 1
    leaning = chance.uniform(0.2, 0.8)
    for rank, asset in enumerate((*ASSETS, *HOSTILE)):
        if chance.random() < rank * 0.05:
            continue
        for _ in range(chance.randint(1, 4)):
            usd = round(chance.lognormvariate(11, 1.1) * storm / (1 + rank) / (5 if asset in HOSTILE else 1), 2)
            long = chance.random() < leaning
            event_ms = max(start, at_ms - chance.randrange(900))
            items.append(item(event_ms, usd, 1 if long else 2, 100.0, asset, symbol=asset))
            sums = market.long_usd if long else market.short_usd
            sums[asset, start] = sums.get((asset, start), 0) + usd
    return frame(*items, received=at_ms)


def _trades(market, chance, start, at_ms, channel):
    symbol = channel.split("_", 2)[2].rpartition("@")[0]
    size = 13 - CHANNELS.index(channel) * 0.15 - (2 if channel in HOSTILE_MARKETS else 0)
    leaning = 0.5 + 0.4 * chance.uniform(-1, 1) * chance.random()
    items = []
    for _ in range(6):
        usd = round(chance.lognormvariate(size, 0.8), 2)
        buy = chance.random() < leaning
        price = round(100 + chance.gauss(0, 0.5), 2)
        items.append(item(max(start, at_ms - chance.randrange(900)), usd, 2 if buy else 1, price, symbol=symbol))
        net = usd if buy else -usd
        market.net_usd[channel, start] = market.net_usd.get((channel, start), 0) + net
    return frame(*items, channel=channel, received=at_ms)
