"""What is traded where, each symbol written as its exchange writes it. Pure, and the same in every run.

The prices are round figures of the assets' order of magnitude: where the walks begin, nothing more.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset: where its price begins (USD), how much is traded (BTC = 1), how far it moves in a day (share)."""

    name: str
    price_usd: float
    weight: float
    daily_move: float


@dataclass(frozen=True, slots=True)
class Instrument:
    """One market; its price is `price_multiple` times the asset's, as 1000PEPEUSDT trades a thousand PEPE at once."""

    exchange: str
    symbol: str
    asset: Asset
    price_multiple: int
    weight: float


ASSETS = (
    Asset("BTC", 60_000.0, 1.0, 0.03),
    Asset("ETH", 2_500.0, 0.7, 0.04),
    Asset("SOL", 140.0, 0.35, 0.05),
    Asset("XRP", 0.55, 0.2, 0.05),
    Asset("DOGE", 0.11, 0.18, 0.07),
    Asset("PEPE", 0.0000085, 0.15, 0.10),
    Asset("BNB", 540.0, 0.12, 0.03),
    Asset("ADA", 0.36, 0.1, 0.05),
    Asset("AVAX", 26.0, 0.1, 0.06),
    Asset("LINK", 11.0, 0.1, 0.05),
    Asset("SUI", 0.95, 0.1, 0.08),
    Asset("WIF", 1.7, 0.1, 0.10),
    Asset("TON", 5.4, 0.08, 0.05),
    Asset("SHIB", 0.0000135, 0.08, 0.08),
    Asset("LTC", 65.0, 0.07, 0.04),
    Asset("BCH", 320.0, 0.07, 0.05),
    Asset("DOT", 4.2, 0.07, 0.05),
    Asset("TRX", 0.15, 0.06, 0.03),
    Asset("NEAR", 4.0, 0.06, 0.07),
    Asset("APT", 6.1, 0.06, 0.07),
    Asset("ARB", 0.53, 0.06, 0.07),
    Asset("OP", 1.5, 0.06, 0.07),
    Asset("FIL", 3.6, 0.05, 0.06),
    Asset("ATOM", 4.1, 0.05, 0.05),
    Asset("UNI", 6.5, 0.05, 0.06),
    Asset("INJ", 17.0, 0.05, 0.08),
    Asset("ORDI", 30.0, 0.05, 0.09),
    Asset("BONK", 0.0000175, 0.05, 0.10),
    Asset("FLOKI", 0.000125, 0.04, 0.10),
    Asset("ETC", 18.0, 0.04, 0.05),
)

#: So cheap that some exchanges trade a thousand at once.
_BY_THE_THOUSAND = frozenset({"PEPE", "SHIB", "BONK", "FLOKI"})
#: Also traded against the coin itself.
_COIN_MARGINED = frozenset({"BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "LTC", "LINK"})
_DERIBIT = frozenset({"BTC", "ETH"})
_DERIBIT_USDC = frozenset({"SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK"})
_BITFINEX = frozenset({"BTC", "ETH", "SOL", "XRP", "DOGE", "LTC"})


def _listed(asset: Asset) -> list[Instrument]:
    a = asset.name
    kilo = a in _BY_THE_THOUSAND
    multiple = 1_000 if kilo else 1
    bitcoin = "XBT" if a == "BTC" else a  # as Kraken and BitMEX still write it

    def listed(exchange: str, symbol: str, share: float, price_multiple: int = 1) -> Instrument:
        return Instrument(exchange, symbol, asset, price_multiple, asset.weight * share)

    instruments = [
        listed("Binance", f"1000{a}USDT" if kilo else f"{a}USDT", 1.0, multiple),
        listed("OKX", f"{a}-USDT-SWAP", 0.6),
        listed("Bybit", ("SHIB1000USDT" if a == "SHIB" else f"1000{a}USDT") if kilo else f"{a}USDT", 0.6, multiple),
        listed("Bitget", f"{a}USDT", 0.3),
        listed("Bitget", f"{a}USDT_UMCBL", 0.1),
        listed("HTX", f"{a}-USDT", 0.2),
        listed("Gate", f"{a}_USDT", 0.25),
        listed("CoinEx", f"{a}USDT", 0.05),
        listed("Hyperliquid", f"k{a}" if kilo else a, 0.2, multiple),
        listed("Kraken", f"PF_{bitcoin}USD", 0.03),
        listed("BitMEX", f"{bitcoin}USDT", 0.02),
    ]
    if a in _COIN_MARGINED:
        instruments += [
            listed("Binance", f"{a}USD_PERP", 0.2),
            listed("OKX", f"{a}-USD-SWAP", 0.1),
            listed("Bybit", f"{a}USD", 0.1),
            listed("HTX", f"{a}-USD", 0.05),
            listed("Gate", f"{a}_USD", 0.03),
        ]
    if a in _DERIBIT:
        instruments.append(listed("Deribit", f"{a}-PERPETUAL", 0.15))
    if a in _DERIBIT_USDC:
        instruments.append(listed("Deribit", f"{a}_USDC-PERPETUAL", 0.05))
    if a in _BITFINEX:
        instruments.append(listed("Bitfinex", f"t{a}F0:USTF0", 0.03))
    return instruments


#: Every market that the simulator knows.
INSTRUMENTS = tuple(instrument for asset in ASSETS for instrument in _listed(asset))

_BY_NAME = {(i.exchange, i.symbol): i for i in INSTRUMENTS}


def find_instrument(exchange: str, symbol: str) -> Instrument | None:
    """Return the market by its names as a channel writes them, None if the simulator has no such market.

    >>> find_instrument("Gate", "BTC_USDT").asset.name
    'BTC'
    """
    return _BY_NAME.get((exchange, symbol))
