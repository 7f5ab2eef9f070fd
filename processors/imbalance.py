"""Buys against sells per market and window, with the prices they were made at. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from processors.frames import FrameRecord
from processors.money import MICROS_PER_USD


@dataclass(slots=True)
class TradeTotals:
    """One market's trades in one window; money in integer micro-USD, so that sums are exact.

    Side 1 means sell, side 2 buy. `open` and `close` go by event time; of equal times the first to arrive opens and the
    last to arrive closes.
    """

    base_asset: str
    open_ms: int
    open: float
    high: float
    low: float
    close_ms: int
    close: float
    sell_micros: int = 0
    buy_micros: int = 0
    sell_count: int = 0
    buy_count: int = 0
    base_quantity: float = 0.0

    @classmethod
    def of(cls, record: FrameRecord) -> Self:
        """Return empty totals for a window that begins with `record`."""
        time_ms, price = record.time, record.price
        return cls(record.baseAsset, time_ms, price, price, price, time_ms, price)

    def add(self, record: FrameRecord, micros: int) -> None:
        """Count one record of `micros` micro-USD."""
        price, time_ms = record.price, record.time
        if record.side == 1:
            self.sell_micros += micros
            self.sell_count += 1
        else:
            self.buy_micros += micros
            self.buy_count += 1
        self.base_quantity += record.volUsd / price
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if time_ms >= self.close_ms:
            self.close_ms, self.close = time_ms, price
        elif time_ms < self.open_ms:
            self.open_ms, self.open = time_ms, price

    def values(self) -> Mapping[str, Any]:
        """Return the fields of `trade_imbalance.avsc` that the totals decide.

        Bought 30 and sold 10: net 20 of 40, so an imbalance of 0.5. The volume-weighted average price is the value of
        all trades over their base quantity, a trade's being USD / price; without a quantity it is the close. It is held
        within low and high, which the rounding to micro-USD can push it out of where trades are worth less than that.
        """
        total, net = self.buy_micros + self.sell_micros, self.buy_micros - self.sell_micros
        vwap = total / MICROS_PER_USD / self.base_quantity if self.base_quantity else self.close
        return {
            "base_asset": self.base_asset,
            "buy_usd": self.buy_micros / MICROS_PER_USD,
            "sell_usd": self.sell_micros / MICROS_PER_USD,
            "net_usd": net / MICROS_PER_USD,
            "buy_count": self.buy_count,
            "sell_count": self.sell_count,
            "imbalance": net / total if total else 0.0,
            "open": self.open,
            "high": self.high,
            "low": self.low,
            "close": self.close,
            "vwap": min(max(vwap, self.low), self.high),
        }
