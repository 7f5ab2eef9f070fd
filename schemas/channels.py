"""CoinGlass's channels: what their names mean. Pure."""

import re
from dataclasses import dataclass

LIQUIDATIONS = "liquidationOrders"
#: What CoinGlass's newer documentation calls it.
LIQUIDATIONS_RENAMED = "liquidation_orders"
TRADES_PREFIX = "futures_trades@"

#: Longest exchange, symbol or asset name that is accepted, in characters.
NAME_CHARACTERS_MAX = 64

_MIN_VOL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class LiquidationChannel:
    """All liquidation orders that CoinGlass sees, over all exchanges; `name` is the same for both of its spellings."""

    name: str = LIQUIDATIONS


@dataclass(frozen=True, slots=True)
class TradeChannel:
    """Trades of one market of at least `min_vol_usd`."""

    name: str
    exchange: str
    symbol: str
    min_vol_usd: float


Channel = LiquidationChannel | TradeChannel


def canonical(name: str) -> str:
    """Return the one name that a channel goes by here, whichever of its spellings is given; any other text as it is."""
    return LIQUIDATIONS if name == LIQUIDATIONS_RENAMED else name


def parse_channel(name: str) -> Channel | None:
    """Return what a channel's name stands for, None for a name nobody knows.

    The exchange ends at the first underscore, as a symbol may hold more of them:

    >>> parse_channel("futures_trades@Gate_BTC_USDT@10000")
    TradeChannel(name='futures_trades@Gate_BTC_USDT@10000', exchange='Gate', symbol='BTC_USDT', min_vol_usd=10000.0)
    """
    if name in (LIQUIDATIONS, LIQUIDATIONS_RENAMED):
        return LiquidationChannel()
    if not name.startswith(TRADES_PREFIX):
        return None
    market, at, min_vol = name[len(TRADES_PREFIX) :].rpartition("@")
    exchange, underscore, symbol = market.partition("_")
    if not (at and underscore and _MIN_VOL.fullmatch(min_vol)):
        return None
    if not (0 < len(exchange) <= NAME_CHARACTERS_MAX and 0 < len(symbol) <= NAME_CHARACTERS_MAX):
        return None
    return TradeChannel(name, exchange, symbol, float(min_vol))


def canonical_name(name: str) -> str:
    """Return the name that both spellings of a channel share; a name that nobody knows is its own.

    >>> canonical_name("liquidation_orders")
    'liquidationOrders'
    """
    channel = parse_channel(name)
    return channel.name if channel else name
