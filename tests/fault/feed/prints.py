"""What the hostile feed sends: prints that are never alike, in frames, and what is no frame. Pure and seeded.

Two connections get the same prints, but not the same frames: a frame of several prints is cut up for every other one.
"""

import gzip
import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.fault.feed.journal import Fate
from tests.fault.frames import LIQUIDATIONS, asset_of, partition_of

TRADES = (
    "futures_trades@Binance_BTCUSDT@10000",
    "futures_trades@Binance_BTCUSDT@0",
    "futures_trades@Gate_BTC_USDT@10000.5",
    "futures_trades@OKX_BTC-USDT-SWAP@5000",
    "futures_trades@Bybit_ETHUSDT@10000",
)
CHANNELS = (LIQUIDATIONS, *TRADES)
ASSETS = ("BTC", "ETH", "SOL", "Ω")
LATE_MS = 9_000

#: A broker takes 1 MiB a record and a producer keeps less; 16 MiB are more than any message of a feed.
TOO_LONG_BYTES = 1_100_000
OVERSIZED_BYTES = 17 * 1024 * 1024


class Message(NamedTuple):
    """One message; without a fate it is none that a producer counts."""

    payload: bytes
    fate: Fate | None = None
    channel: str = ""
    binary: bool = False


class Tick(NamedTuple):
    """Prints of one channel that came at once."""

    channel: str
    prints: tuple[dict[str, Any], ...]

    def messages(self, *, cut_up: bool) -> list[Message]:
        """Return the frames that bring them: one, or one for each."""
        parts = [self.prints[n : n + 1] for n in range(len(self.prints))] if cut_up else [self.prints]
        return [Message(_frame(self.channel, part), Fate.FRAME, self.channel) for part in parts]


class Market:
    """Makes ticks; the same seed makes the same, but for their times."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"prints of {seed}")
        self._number = 0
        self._liquidations = partition_of(LIQUIDATIONS.encode())

    def tick(self, now_ms: int) -> Tick:
        """Return the next tick; some prints are late."""
        chance = self._chance
        channel = chance.choice((LIQUIDATIONS, *CHANNELS))
        return Tick(channel, tuple(self._print(channel, now_ms) for _ in range(chance.choice((1, 1, 2, 3)))))

    def odd(self, now_ms: int) -> list[Message]:
        """Return messages that a feed should not send, and that break no connection."""
        tick = self.tick(now_ms)
        (sound,) = tick.messages(cut_up=False)
        return [
            sound._replace(binary=True),  # a frame all the same
            Message(gzip.compress(sound.payload, mtime=0), Fate.LETTER, binary=True),
            Message(sound.payload[: len(sound.payload) // 2], Fate.LETTER),
            Message(b"\xff\xfe\x00" + sound.payload, Fate.LETTER),
            Message(_frame("fundingRates", tick.prints), Fate.LETTER),
            Message(b'{"data":[1]}', Fate.LETTER),
            Message(b'["not", "an", "object"]', Fate.LETTER),
            Message(b"[" * 100_000, Fate.LETTER),
            Message(b'{"event":"error","code":"500","msg":"nothing to publish"}'),
        ]

    def long(self, now_ms: int) -> Message:
        """Return a frame that is too long for a record."""
        tick = self.tick(now_ms)
        (sound,) = tick.messages(cut_up=False)
        return Message(sound.payload + b" " * TOO_LONG_BYTES, Fate.LOST, tick.channel)

    def _print(self, channel: str, now_ms: int) -> dict[str, Any]:
        chance, self._number = self._chance, self._number + 1
        asset = asset_of(self._liquidations, chance.choice(ASSETS)) if channel == LIQUIDATIONS else "BTC"
        ago_ms = LATE_MS if self._number % 97 == 0 else min(int(chance.expovariate(1 / 100)), 900)
        return {
            "baseAsset": asset,
            "exName": "Binance",
            "price": round(chance.uniform(0.001, 90_000), chance.randrange(3, 9)),
            "side": chance.choice((1, 2)),
            "symbol": "BTCUSDT",
            "time": now_ms - ago_ms,
            "volUsd": self._number + chance.randrange(1, 1_000) / 1_000,  # none like any other
        }


def _frame(channel: str, prints: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps({"channel": channel, "data": prints}, ensure_ascii=False, separators=(",", ":")).encode()
