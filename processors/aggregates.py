"""The aggregates: which channels feed them, what they are keyed by, and the final they publish. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from processors.frames import FrameRecord
from processors.imbalance import TradeTotals
from processors.liquidations import LiquidationTotals
from processors.rows import WindowKey
from schemas.channels import LIQUIDATIONS, Channel, TradeChannel, parse_channel
from schemas.topics import Topics


class Totals(Protocol):
    """What a window's records add up to."""

    @classmethod
    def of(cls, record: FrameRecord) -> Self:
        """Return empty totals for a window that begins with `record`."""

    def add(self, record: FrameRecord, micros: int) -> None:
        """Count one record of `micros` micro-USD."""

    def values(self) -> Mapping[str, Any]:
        """Return the final's fields that the totals decide."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One kind of result."""

    name: str  # as in its topics and in table rows
    schema: str  # the final's `.avsc`
    totals: type[Totals]
    keyed_by_asset: bool  # by the record's baseAsset, else by the channel
    topic: Callable[[Topics, str], str]  # (topics, window as written) -> where finals go

    def channel_of(self, key: str) -> str:
        """Return the channel whose coverage decides that of `key`."""
        return LIQUIDATIONS if self.keyed_by_asset else key

    def identity(self, key: str) -> Mapping[str, Any]:
        """Return the final's fields that the key decides."""
        if self.keyed_by_asset:
            return {"asset": key}
        channel = parse_channel(key)
        assert isinstance(channel, TradeChannel)
        return {"exchange": channel.exchange, "symbol": channel.symbol, "min_vol_usd": channel.min_vol_usd}

    def value(self, window: WindowKey, totals: Totals, coverage: float | None) -> dict[str, Any]:
        """Return the window's value as its `.avsc` has it; window bounds in UTC ms."""
        return {
            **self.identity(window.key),
            **totals.values(),
            "window_start": window.start_ms,
            "window_end": window.end_ms,
            "coverage": coverage,
            "revision": 0,
        }


LIQUIDATION_VOLUME = Aggregate(
    "liquidation-volume", "liquidation_volume", LiquidationTotals, True, Topics.liquidation_volume
)
TRADE_IMBALANCE = Aggregate("trade-imbalance", "trade_imbalance", TradeTotals, False, Topics.trade_imbalance)

AGGREGATES = {aggregate.name: aggregate for aggregate in (LIQUIDATION_VOLUME, TRADE_IMBALANCE)}


def aggregate_for(channel: Channel) -> Aggregate:
    """Return the aggregate that a channel's records belong to."""
    return TRADE_IMBALANCE if isinstance(channel, TradeChannel) else LIQUIDATION_VOLUME
