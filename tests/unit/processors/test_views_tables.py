from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.views.tables import newest, windows_by_key, windows_of
from processors.windows import window_sizes
from schemas.durations import parse_duration
from tests.unit.processors.records import NOW_MS, TRADES, frame, item, pipeline

M = NOW_MS - NOW_MS % 60_000
SIZES = window_sizes((parse_duration("1m"), parse_duration("5m")))


def rows_of(*frames):
    step = pipeline("1m", "5m")
    step.process(frames)
    return [(key, row) for key, row in step.take().rows.items() if row is not None]


def test_open_windows_come_first_and_then_the_newest():
    rows = rows_of(*(frame(item(M + minute * 60_000, 1.0 + minute)) for minute in range(4)))
    shown = newest(windows_by_key(rows, LIQUIDATION_VOLUME)["BTC"], SIZES[:1], 10)
    assert [(w["final"], w["long_usd"]) for w in shown] == [(False, 4.0), (False, 3.0), (True, 2.0), (True, 1.0)]


def test_the_limit_is_for_each_length_of_window():
    rows = rows_of(*(frame(item(M + minute * 60_000)) for minute in range(12)))
    shown = newest(windows_by_key(rows, LIQUIDATION_VOLUME)["BTC"], SIZES, 2)
    assert sorted(w["window"] for w in shown) == ["1m", "1m", "5m", "5m"]


def test_rows_are_told_apart_by_aggregate_and_key():
    rows = rows_of(frame(item(M)), frame(item(M), channel=TRADES))
    assert windows_by_key(rows, LIQUIDATION_VOLUME).keys() == {"BTC"}
    assert windows_by_key(rows, TRADE_IMBALANCE).keys() == {TRADES}


def test_the_rows_of_one_asset_are_not_those_of_another_whose_key_ends_alike():
    rows = rows_of(
        frame(item(M)), frame(item(M, asset="XBTC")), frame(item(M, asset='"BTC')), frame(item(M, asset="]"))
    )
    assert {window.key for window in windows_of(rows, LIQUIDATION_VOLUME, "BTC")} == {"BTC"}
    assert {window.key for window in windows_of(rows, LIQUIDATION_VOLUME, '"BTC')} == {'"BTC'}
    assert windows_of(rows, LIQUIDATION_VOLUME, "TC") == {}


def test_a_final_shows_the_coverage_it_was_published_with():
    rows = rows_of(frame(item(M)), frame(item(M + 65_000)))
    (final,) = [w for w in newest(windows_by_key(rows, LIQUIDATION_VOLUME)["BTC"], SIZES[:1], 9) if w["final"]]
    assert final["coverage"] is None
    assert (final["window_start"], final["window_end"], final["window"]) == (M, M + 60_000, "1m")
