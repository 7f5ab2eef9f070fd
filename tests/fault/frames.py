"""The raw records of a storm: seeded, and as hostile as a feed can be. No I/O, no clock.

Every final must tell by its key alone which raw partition it comes from, or its order could not be checked. So each
partition of the liquidations has assets of its own, ending in its number, and each channel of trades lies where its
key puts it.
"""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.partitioner import DefaultPartitioner

from schemas.topics import MARK_KEY, Topics
from tests.fault.settings import PARTITIONS

LIQUIDATIONS = "liquidationOrders"
ASSETS = ("BTC", "ETH", "SOL", "Ω", "A/B ?")
MARKETS = (
    *(f"{exchange}_{asset}USDT" for exchange in ("Binance", "Bybit", "Bitget") for asset in "ABCDEFGHI"),
    *(f"OKX_{asset}-USDT-SWAP" for asset in ("BTC", "ETH", "SOL")),
    "Gate_BTC_USDT",
    "X_a@b_Ω",
    "Y_A/B %2F?#",
)
TRADES = (*(f"futures_trades@{market}@10000" for market in MARKETS), *(f"futures_trades@{m}@0" for m in MARKETS[:3]))
CHANNELS = (*(LIQUIDATIONS for _ in range(PARTITIONS)), *TRADES)

CONNECTION_SECONDS = 20  # how long one lives, on average
DISORDER_MS = 150  # how old a record is, on average
LATE_MS = 9_000
CLOSING_MS = 20_000  # how far ahead the closing frames are: beyond grace, longest window and anything written before


class RawRecord(NamedTuple):
    """A record of a raw topic, as a producer writes it."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    timestamp_ms: int


def partition_of(key: bytes) -> int:
    """Return where Kafka's own clients would put a key."""
    partitions = list(range(PARTITIONS))
    return int(DefaultPartitioner()(key, partitions, partitions))


def asset_of(partition: int, name: str) -> str:
    """Return an asset that only this partition of the liquidations has."""
    return f"{name}{partition}"


class Feed:
    """Makes raw records; the same seed makes the same, but for their times."""

    def __init__(self, seed: int, topics: Topics) -> None:
        self._chance = random.Random(seed)
        self._topics = topics
        self._partition_of = {channel: partition_of(channel.encode()) for channel in TRADES}
        self._number = 0
        self._connection: str | None = None

    def frame(self, now_ms: int) -> RawRecord:
        """Return the next frame; some are bad, some of a channel nobody knows, some are nothing at all."""
        chance, self._number = self._chance, self._number + 1
        channel = chance.choice(CHANNELS)
        partition = self._place(channel)
        data = self._data(channel, partition, now_ms)
        value: bytes | None = json.dumps({"channel": channel, "data": data}, ensure_ascii=False).encode()
        assert value is not None
        match self._number % 200:
            case 17:
                value = value[: len(value) // 2]
            case 67:
                value = b"\xff\xfe\x00"
            case 117:
                value = None
            case 167:
                value = b"[1,2]"
            case 191:
                value = json.dumps({"channel": "futures_trades@nothing", "data": data}).encode()
        return self._record(channel, partition, value, now_ms)

    def marks(self, now_ms: int) -> Iterator[RawRecord]:
        """Return this second's marks, one for each raw partition: connections come and go."""
        chance = self._chance
        if self._connection is None:
            kind, self._connection = "up", f"connection-{chance.getrandbits(64):016x}"
        else:
            kind = "down" if chance.random() < 1 / CONNECTION_SECONDS else "alive"
        body = {
            "kind": kind,
            "at_ms": now_ms,
            "heard_at_ms": now_ms - chance.randrange(300),
            "connection": self._connection,
            "channels": sorted({*CHANNELS} - {chance.choice(CHANNELS)} if chance.random() < 0.1 else {*CHANNELS}),
        }
        if kind == "down":
            self._connection = None
        value = json.dumps(body, ensure_ascii=False).encode()
        for topic in self._topics.raw:
            for partition in range(PARTITIONS):
                yield RawRecord(topic, partition, MARK_KEY, value, now_ms)

    def closing(self, now_ms: int) -> Iterator[RawRecord]:
        """Return frames that bring every window to its end that was written before."""
        then_ms = now_ms + CLOSING_MS
        for number, channel in enumerate(CHANNELS):
            partition = number if channel == LIQUIDATIONS else self._place(channel)
            data = [self._item(channel, partition, then_ms)]
            value = json.dumps({"channel": channel, "data": data}, ensure_ascii=False).encode()
            yield self._record(channel, partition, value, then_ms)

    def _place(self, channel: str) -> int:
        return self._chance.randrange(PARTITIONS) if channel == LIQUIDATIONS else self._partition_of[channel]

    def _record(self, channel: str, partition: int, value: bytes | None, now_ms: int) -> RawRecord:
        topic = self._topics.raw_liquidations if channel == LIQUIDATIONS else self._topics.raw_trades
        return RawRecord(topic, partition, channel.encode(), value, now_ms)

    def _data(self, channel: str, partition: int, now_ms: int) -> list[dict[str, Any]]:
        chance = self._chance
        data = [
            self._item(channel, partition, now_ms - min(int(chance.expovariate(1 / DISORDER_MS)), 1_500))
            for _ in range(chance.choice((1, 1, 1, 2, 3, 5)))
        ]
        if self._number % 60 == 0:
            data[0]["time"] -= LATE_MS
        if self._number % 110 == 0:
            data[0]["side"] = 3
        if self._number % 130 == 0:
            data.append({**self._item(channel, partition, now_ms), "price": -1.5})
            data.insert(0, {**self._item(channel, partition, now_ms + 120_000)})
        if self._number % 140 == 0:
            data[-1]["unheard"] = {"of": [None]}
        if self._number % 310 == 0:
            data = []
        return data

    def _item(self, channel: str, partition: int, time_ms: int) -> dict[str, Any]:
        chance = self._chance
        asset = asset_of(partition, chance.choice(ASSETS)) if channel == LIQUIDATIONS else "BTC"
        return {
            "baseAsset": asset,
            "exName": "Binance",
            "price": round(chance.uniform(0.001, 90_000), chance.randrange(3, 9)),
            "side": chance.choice((1, 2)),
            "symbol": "BTCUSDT",
            "time": time_ms,
            "volUsd": round(chance.lognormvariate(8, 3), chance.randrange(9)),
        }
