"""The simulated market: seeded, in the feed's shape, and like a market where the pipeline would notice."""

import json
from collections import Counter

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.simulate.instruments import INSTRUMENTS
from sandbox.simulate.market import LAG_MS_MAX, LEAD_MS_MAX, Frame, Market, encode, knows_channel
from schemas.channels import LIQUIDATIONS, TradeChannel, parse_channel
from schemas.codec import parsed_schema

NOW_MS = 1_725_416_318_379
FRAME_SCHEMA = parsed_schema("frame")
MARKETS = [f"{i.exchange}_{i.symbol}" for i in INSTRUMENTS]
TRADES = st.builds(
    "futures_trades@{}@{}".format,
    st.integers(0, len(MARKETS) - 1).map(MARKETS.__getitem__),
    st.sampled_from(["0", "0.5", "1000", "10000", "99999.999999", "999999999"]),
)
CHANNELS = st.sets(TRADES | st.just(LIQUIDATIONS), min_size=1, max_size=8)


def _run(
    seed: int, channels: set[str], ticks: int = 20, count: int = 25, tick_ms: int = 200
) -> list[tuple[int, Frame]]:
    market = Market(seed, NOW_MS)
    market.listen(channels)
    ticking = range(NOW_MS, NOW_MS + ticks * tick_ms, tick_ms)
    return [(now_ms, frame) for now_ms in ticking for frame in market.frames(now_ms, count)]


@given(seed=st.integers(0, 2**32), channels=CHANNELS)
@settings(max_examples=25, deadline=None)
def test_the_same_seed_subscriptions_and_clock_make_the_same_bytes(seed: int, channels: set[str]) -> None:
    first, second = (b"\n".join(encode(frame) for _, frame in _run(seed, channels)) for _ in range(2))
    assert first == second


def test_the_order_of_subscribing_changes_nothing() -> None:
    names = ["futures_trades@Gate_BTC_USDT@0", "futures_trades@Binance_BTCUSDT@0", LIQUIDATIONS]
    one, other = Market(7, NOW_MS), Market(7, NOW_MS)
    one.listen(names)
    other.listen(reversed(names))
    assert one.frames(NOW_MS, 50) == other.frames(NOW_MS, 50)


def test_another_seed_makes_another_market() -> None:
    assert [f for _, f in _run(1, {LIQUIDATIONS})] != [f for _, f in _run(2, {LIQUIDATIONS})]


@given(seed=st.integers(0, 2**32), channels=CHANNELS)
@settings(max_examples=50, deadline=None)
def test_every_record_is_as_the_contract_wants_it(seed: int, channels: set[str]) -> None:
    for now_ms, frame in _run(seed, channels, ticks=5):
        sent = json.loads(encode(frame))
        assert fastavro.validation.validate(sent, FRAME_SCHEMA, strict=True)
        assert sent["channel"] in channels
        channel = parse_channel(sent["channel"])
        for record in sent["data"]:
            assert record["side"] in (1, 2)
            assert record["price"] > 0
            assert record["volUsd"] > 0
            assert now_ms - LAG_MS_MAX <= record["time"] <= now_ms + LEAD_MS_MAX
            if isinstance(channel, TradeChannel):
                assert record["volUsd"] >= channel.min_vol_usd
                assert (record["exName"], record["symbol"]) == (channel.exchange, channel.symbol)


def test_a_frame_has_exactly_the_fields_of_the_feed_in_its_order() -> None:
    [frame] = [f for _, f in _run(7, {"futures_trades@Binance_BTCUSDT@10000"}, ticks=1, count=1)]
    assert encode(frame).startswith(
        b'{"channel":"futures_trades@Binance_BTCUSDT@10000","data":[{"baseAsset":"BTC","exName":"Binance","price":'
    )
    assert list(json.loads(encode(frame))["data"][0]) == [
        "baseAsset",
        "exName",
        "price",
        "side",
        "symbol",
        "time",
        "volUsd",
    ]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (LIQUIDATIONS, True),
        ("futures_trades@Gate_BTC_USDT@10000", True),
        ("futures_trades@OKX_BTC-USDT-SWAP@0", True),
        ("futures_trades@Binance_1000PEPEUSDT@1", True),
        ("futures_trades@Binance_BTCUSD_PERP@1", True),
        ("futures_trades@Deribit_BTC-PERPETUAL@1", True),
        ("futures_trades@Binance_PEPEUSDT@1", False),
        ("futures_trades@Binance_BTCUSDT", False),
        ("fundingRates", False),
    ],
)
def test_the_channels_of_known_markets_are_known(name: str, known: bool) -> None:
    assert knows_channel(name) is known


def test_nothing_is_made_for_nobody() -> None:
    market = Market(7, NOW_MS)
    assert market.frames(NOW_MS, 10) == []
    market.listen(["fundingRates", "futures_trades@Nowhere_BTCUSDT@1"])
    assert market.frames(NOW_MS, 10) == []


def test_a_big_trade_is_on_every_channel_whose_min_vol_it_reaches() -> None:
    low, high = "futures_trades@Binance_BTCUSDT@1000", "futures_trades@Binance_BTCUSDT@5000"
    made = [f for _, f in _run(7, {low, high})]
    big = [r for f in made if f.channel == low for r in f.data if r.vol_usd >= 5_000]
    assert big
    assert big == [r for f in made if f.channel == high for r in f.data]


def test_event_times_are_out_of_order_a_little_and_seldom_by_seconds() -> None:
    made = [(now_ms, r.time) for now_ms, f in _run(7, {LIQUIDATIONS}, ticks=200) for r in f.data]
    lags_ms = sorted(now_ms - time_ms for now_ms, time_ms in made)
    assert lags_ms[len(lags_ms) // 2] < 300
    seconds_late = sum(lag_ms > 1_000 for lag_ms in lags_ms) / len(lags_ms)
    assert 0.001 < seconds_late < 0.05
    times_ms = [time_ms for _, time_ms in made]
    assert times_ms != sorted(times_ms)


def test_in_a_cascade_one_side_of_one_asset_goes_on_several_exchanges_and_the_price_with_it() -> None:
    market = Market(7, NOW_MS)
    market.listen([LIQUIDATIONS])
    by_second: list[Counter[tuple[str, int]]] = []
    for second in range(120):
        records = [r for f in market.frames(NOW_MS + second * 1_000, 40) for r in f.data]
        by_second.append(Counter((r.base_asset, r.side) for r in records))
    heights = [seen.most_common(1)[0][1] / seen.total() for seen in by_second]
    assert max(heights) > 0.6
    assert min(heights) < 0.3
    # Walk through the first cascade again, with the prices of the asset on one exchange.
    height_at = heights.index(max(heights))
    (asset, side), _ = by_second[height_at].most_common(1)[0]
    again = Market(7, NOW_MS)
    again.listen([LIQUIDATIONS])
    seen = []
    for second in range(height_at + 8):
        for f in again.frames(NOW_MS + second * 1_000, 40):
            seen += [(second, r) for r in f.data if r.base_asset == asset]
    inside = [r for second, r in seen if second == height_at]
    assert len({r.ex_name for r in inside}) >= 4
    on_one = [r for second, r in seen if second >= height_at - 1 and (r.ex_name, r.symbol) == _most_seen(inside)]
    moved = on_one[-1].price / on_one[0].price - 1
    assert (moved < 0) is (side == 1)


def _most_seen(records: list) -> tuple[str, str]:
    return Counter((r.ex_name, r.symbol) for r in records).most_common(1)[0][0]


def test_prices_keep_their_order_of_magnitude_over_a_week() -> None:
    market = Market(7, NOW_MS)
    market.listen(["futures_trades@Binance_BTCUSDT@0", "futures_trades@Binance_1000PEPEUSDT@0"])
    for minute in range(7 * 24 * 60):
        for frame in market.frames(NOW_MS + minute * 60_000, 1):
            low, high = (40_000, 90_000) if "BTC" in frame.channel else (0.0050, 0.0150)
            assert all(low < r.price < high for r in frame.data)


def test_a_few_records_carry_most_of_the_volume() -> None:
    volumes = sorted((r.vol_usd for _, f in _run(7, {LIQUIDATIONS}, ticks=100) for r in f.data), reverse=True)
    assert sum(volumes[: len(volumes) // 10]) > 0.5 * sum(volumes)
