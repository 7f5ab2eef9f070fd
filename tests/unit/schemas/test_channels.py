import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.channels import LiquidationChannel, TradeChannel, parse_channel


def test_liquidation_orders_is_the_one_liquidation_channel():
    assert parse_channel("liquidationOrders") == LiquidationChannel()


@pytest.mark.parametrize(
    ("name", "exchange", "symbol", "min_vol"),
    [
        ("futures_trades@Binance_BTCUSDT@10000", "Binance", "BTCUSDT", 10_000.0),
        ("futures_trades@Gate_BTC_USDT@0", "Gate", "BTC_USDT", 0.0),
        ("futures_trades@OKX_BTC-USDT-SWAP@2500.5", "OKX", "BTC-USDT-SWAP", 2_500.5),
        ("futures_trades@X_a@b@1", "X", "a@b", 1.0),
    ],
)
def test_a_trade_channel_is_taken_apart_at_its_first_underscore_and_last_at(name, exchange, symbol, min_vol):
    assert parse_channel(name) == TradeChannel(name, exchange, symbol, min_vol)


@pytest.mark.parametrize(
    "name",
    ["", "liquidationorders", "liquidationOrders ", "tickers", "futures_trades@", "futures_trades@Binance_BTCUSDT",
     "futures_trades@BinanceBTCUSDT@1", "futures_trades@_BTCUSDT@1", "futures_trades@Binance_@1",
     "futures_trades@Binance_BTCUSDT@", "futures_trades@Binance_BTCUSDT@-1", "futures_trades@Binance_BTCUSDT@1e4",
     "futures_trades@Binance_BTCUSDT@nan", f"futures_trades@{'x' * 65}_BTC@1", f"futures_trades@X_{'y' * 65}@1"],
)  # fmt: skip
def test_a_channel_nobody_knows_is_none(name):
    assert parse_channel(name) is None


@given(st.text())
def test_no_text_makes_the_parser_raise(text):
    parse_channel(text)
    parse_channel("futures_trades@" + text)
