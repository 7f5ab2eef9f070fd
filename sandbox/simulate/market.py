"""Frames of a market that never was, in the exact JSON shape of the feed. Seeded, told the time, no I/O.

The same seed, the same calls with the same `now_ms`, the same bytes. What it takes from the real feed:

- prices are random walks in real time, pulled back slowly to where they began; a second of it looks the same at 50
  frames a second and at 10,000;
- volumes are Pareto, so a few records carry most of a window's sum;
- liquidations come in cascades: seconds in which one asset's longs (or shorts) go on several exchanges, its price
  runs with them and its traders lean the same way;
- event times are out of order by a few hundred ms, seldom by seconds, always by less than the default grace of 5 s:
  without faults no record is late;
- a market's trade goes to each of its channels whose minVol it reaches, so two minVols overlap as they do there.
"""

import math
import random
from bisect import bisect
from collections.abc import Iterable
from itertools import accumulate

import msgspec

from sandbox.simulate.instruments import ASSETS, INSTRUMENTS, Asset, Instrument, find_instrument
from schemas.channels import LIQUIDATIONS, LiquidationChannel, TradeChannel, parse_channel

#: A record is never older than this when it is sent, and never further ahead than the next, ms.
LAG_MS_MAX = 4_000
LEAD_MS_MAX = 50

RECORDS_MAX = 20

_MS_PER_DAY = 86_400_000
_RETURN_MS = 1_200_000  # a walk's way back to its beginning is shortened by 1/e in 20 minutes
_CALM_MS_MEAN = 15_000  # from one cascade to the next
_SEEN_TOGETHER_SHARE = 0.3  # liquidations' share of frames, as a share of all trades' weight
_CASCADE_FACTOR = 4.0  # liquidations' weight during a cascade
_LIQUIDATION_USD_MIN = 100.0
_TRADE_USD_MIN = 5.0
_VOL_USD_MAX = 30_000_000.0


class Record(msgspec.Struct, gc=False, rename="camel"):
    """One record as the feed writes it: side 1 or 2, `time` in UTC ms, `vol_usd` in USD."""

    base_asset: str
    ex_name: str
    price: float
    side: int
    symbol: str
    time: int
    vol_usd: float


class Frame(msgspec.Struct, gc=False):
    """One message of the feed."""

    channel: str
    data: list[Record]


class _Walk:
    """The price of one asset over time; `ratio` is log(price / where it began)."""

    __slots__ = ("asset", "at_ms", "move_per_root_ms", "phase", "ratio", "trend_per_ms", "trend_until_ms")

    def __init__(self, asset: Asset, now_ms: int, phase: float) -> None:
        self.asset = asset
        self.at_ms = now_ms
        self.ratio = 0.0
        self.move_per_root_ms = asset.daily_move / math.sqrt(_MS_PER_DAY)
        self.phase = phase
        self.trend_per_ms = 0.0
        self.trend_until_ms = 0

    def price_usd(self, now_ms: int, rng: random.Random) -> float:
        elapsed_ms = now_ms - self.at_ms
        if elapsed_ms > 0:
            self.ratio *= math.exp(-elapsed_ms / _RETURN_MS)
            self.ratio += rng.gauss(0.0, self.move_per_root_ms * math.sqrt(min(elapsed_ms, _RETURN_MS)))
            in_trend_ms = min(now_ms, self.trend_until_ms) - self.at_ms
            if in_trend_ms > 0:
                self.ratio += self.trend_per_ms * in_trend_ms
            self.at_ms = now_ms
        return self.asset.price_usd * math.exp(self.ratio)

    def buyers(self, now_ms: int) -> float:
        """Return the share of trades that are buys: it swings in minutes, and gives way to a trend."""
        if now_ms < self.trend_until_ms:
            return 0.8 if self.trend_per_ms > 0 else 0.2
        return 0.5 + 0.15 * math.sin(now_ms / 40_000.0 + self.phase)


class _Draw:
    """Instruments to draw from, by their weights."""

    __slots__ = ("cumulative", "instruments", "total")

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.instruments = tuple(instruments)
        self.cumulative = list(accumulate(i.weight for i in self.instruments))
        self.total = self.cumulative[-1]

    def one(self, rng: random.Random) -> Instrument:
        return self.instruments[bisect(self.cumulative, rng.random() * self.total, 0, len(self.instruments) - 1)]


class _TradedMarket:
    """A subscribed market: its channels by rising minVol."""

    __slots__ = ("channels", "instrument", "weight")

    def __init__(self, instrument: Instrument, channels: Iterable[TradeChannel]) -> None:
        self.instrument = instrument
        self.channels = sorted(channels, key=lambda c: (c.min_vol_usd, c.name))
        # The fewer trades, the higher the bar: a tenth for a hundred times the volume.
        bar = max(self.channels[0].min_vol_usd, 1_000.0)
        self.weight = instrument.weight * math.sqrt(10_000.0 / bar)


def knows_channel(name: str) -> bool:
    """Say whether the simulator has frames for this channel: liquidationOrders, and trades of a known market."""
    channel = parse_channel(name)
    if isinstance(channel, TradeChannel):
        return find_instrument(channel.exchange, channel.symbol) is not None
    return isinstance(channel, LiquidationChannel)


class Market:
    """All markets at once, and the frames of those channels that somebody listens to.

    >>> market = Market(seed=7, now_ms=1_725_416_318_379)
    >>> market.listen(["liquidationOrders"])
    >>> [frame.channel for frame in market.frames(1_725_416_318_400, 2)]
    ['liquidationOrders', 'liquidationOrders']
    """

    def __init__(self, seed: int, now_ms: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a market to replay, not a secret
        self._walks = {a.name: _Walk(a, now_ms, self._rng.uniform(0.0, math.tau)) for a in ASSETS}
        self._basis = {id(i): 1.0 + self._rng.gauss(0.0, 0.0002) for i in INSTRUMENTS}
        self._decimals = {id(i): _decimals(i.asset.price_usd * i.price_multiple) for i in INSTRUMENTS}
        self._every_draw = _Draw(INSTRUMENTS)
        self._asset_draws = {a.name: _Draw(i for i in INSTRUMENTS if i.asset is a) for a in ASSETS}
        self._cascade_draw: _Draw | None = None
        self._cascade_side = 1
        self._cascade_until_ms = 0
        self._next_cascade_ms = now_ms + self._calm_ms()
        self._traded: list[_TradedMarket] = []
        self._liquidations = False
        self._cumulative: list[float] = []

    def listen(self, channels: Iterable[str]) -> None:
        """Make frames for exactly these channels from now on, whatever their order; unknown ones are passed over."""
        by_market: dict[tuple[str, str], list[TradeChannel]] = {}
        wanted = sorted(set(channels))
        for name in wanted:
            channel = parse_channel(name)
            if isinstance(channel, TradeChannel):
                by_market.setdefault((channel.exchange, channel.symbol), []).append(channel)
        found = ((find_instrument(*market), markets) for market, markets in by_market.items())
        self._traded = [_TradedMarket(instrument, markets) for instrument, markets in found if instrument]
        self._liquidations = LIQUIDATIONS in wanted
        self._cumulative = list(accumulate(t.weight for t in self._traded))

    def frames(self, now_ms: int, count: int) -> list[Frame]:
        """Return at least `count` frames of the channels listened to, none if there are none.

        A trade that several channels carry makes one frame for each, so there may be a few more than asked for.
        """
        made: list[Frame] = []
        if not (self._traded or self._liquidations):
            return made
        self._turn_cascade(now_ms)
        trades = self._cumulative[-1] if self._cumulative else 0.0
        liquidations = self._liquidation_weight(trades, now_ms)
        total = trades + liquidations
        rng = self._rng
        while len(made) < count:
            at = rng.random() * total
            if at < liquidations:
                made.append(self._liquidation_frame(now_ms))
            else:
                place = bisect(self._cumulative, at - liquidations, 0, len(self._traded) - 1)
                self._add_trade_frames(self._traded[place], now_ms, made)
        return made

    def _liquidation_weight(self, trades: float, now_ms: int) -> float:
        if not self._liquidations:
            return 0.0
        calm = trades * _SEEN_TOGETHER_SHARE or 1.0
        return calm * _CASCADE_FACTOR if now_ms < self._cascade_until_ms else calm

    def _turn_cascade(self, now_ms: int) -> None:
        """Begin a cascade when it is time for one: a side, an asset, a few seconds, and a trend against the side."""
        if now_ms < self._next_cascade_ms:
            return
        rng = self._rng
        asset = self._every_draw.one(rng).asset
        lasts_ms = rng.randint(2_000, 8_000)
        self._cascade_draw = self._asset_draws[asset.name]
        self._cascade_side = rng.choice((1, 2))
        self._cascade_until_ms = now_ms + lasts_ms
        self._next_cascade_ms = self._cascade_until_ms + self._calm_ms()
        walk = self._walks[asset.name]
        walk.price_usd(now_ms, rng)  # up to here without the trend
        walk.trend_per_ms = rng.uniform(0.003, 0.02) / lasts_ms * (-1 if self._cascade_side == 1 else 1)
        walk.trend_until_ms = self._cascade_until_ms

    def _calm_ms(self) -> int:
        return 1_000 + int(self._rng.expovariate(1 / _CALM_MS_MEAN))

    def _liquidation_frame(self, now_ms: int) -> Frame:
        rng = self._rng
        draw = self._cascade_draw if now_ms < self._cascade_until_ms else None
        continues = 0.7 if draw else 0.25
        records: list[Record] = []
        while True:
            if draw and rng.random() < 0.9:
                instrument, side = draw.one(rng), self._cascade_side
                vol_usd = 5 * _LIQUIDATION_USD_MIN * rng.paretovariate(0.9)
            else:
                instrument, side = self._every_draw.one(rng), 1 if rng.random() < 0.5 else 2
                vol_usd = _LIQUIDATION_USD_MIN * rng.paretovariate(0.9)
            records.append(self._record(instrument, side, vol_usd, now_ms))
            if len(records) == RECORDS_MAX or rng.random() > continues:
                return Frame(LIQUIDATIONS, records)

    def _add_trade_frames(self, market: _TradedMarket, now_ms: int, made: list[Frame]) -> None:
        rng = self._rng
        instrument = market.instrument
        lowest = market.channels[0]
        at_least_usd = max(lowest.min_vol_usd, _TRADE_USD_MIN)
        buyers = self._walks[instrument.asset.name].buyers(now_ms)
        records: list[Record] = []
        while True:
            side = 2 if rng.random() < buyers else 1
            record = self._record(instrument, side, at_least_usd * rng.paretovariate(1.4), now_ms)
            record.vol_usd = max(record.vol_usd, lowest.min_vol_usd)  # never below by the cap, or by its rounding
            records.append(record)
            if len(records) == RECORDS_MAX or rng.random() > 0.2:
                break
        made.append(Frame(lowest.name, records))
        for channel in market.channels[1:]:
            carried = [r for r in records if r.vol_usd >= channel.min_vol_usd]
            if carried:
                made += [Frame(channel.name, carried)]

    def _record(self, instrument: Instrument, side: int, vol_usd: float, now_ms: int) -> Record:
        rng = self._rng
        of_asset = self._walks[instrument.asset.name].price_usd(now_ms, rng)
        price = of_asset * instrument.price_multiple * self._basis[id(instrument)] * (1.0 + rng.gauss(0.0, 0.00005))
        chance = rng.random()
        if chance < 0.98:
            time_ms = now_ms - int(chance * 300) + LEAD_MS_MAX
        else:
            time_ms = now_ms - int((1.0 - chance) / 0.02 * LAG_MS_MAX)
        return Record(
            instrument.asset.name,
            instrument.exchange,
            round(price, self._decimals[id(instrument)]),
            side,
            instrument.symbol,
            time_ms,
            round(min(vol_usd, _VOL_USD_MAX), 4),
        )


def _decimals(price: float) -> int:
    """Return how many decimals give a price five or six digits: 1 for BTC, 9 for PEPE."""
    return max(0, 5 - math.floor(math.log10(price)))


encode = msgspec.json.Encoder().encode
