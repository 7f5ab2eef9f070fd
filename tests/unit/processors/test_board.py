import json

import pytest

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.rows import watermark_key
from processors.views.board import Board, in_order, newest
from processors.windows import window_sizes
from schemas.durations import parse_duration
from tests.unit.processors.records import NOW_MS, TRADES, frame, item, pipeline

M = NOW_MS - NOW_MS % 60_000
SIZES = window_sizes((parse_duration("1m"), parse_duration("5m")))
ONE_MINUTE = [60_000]
HERE = ("coinglass.raw.trades", 0)
THERE = ("coinglass.raw.trades", 1)


def rows_of(*frames):
    step = pipeline("1m", "5m")
    step.process(frames)
    return {key: row for key, row in step.take().rows.items() if row is not None}


def board_of(*frames, partition=HERE):
    board = Board(SIZES)
    board.replace(partition, rows_of(*frames))
    return board


def shown(board, line, sizes_ms=(60_000, 300_000), limit=10):
    return [json.loads(bytes(board.encoded(cell))) for cell in newest(line, sizes_ms, limit)]


def of_btc(board, **how):
    return shown(board, board.line(LIQUIDATION_VOLUME, "BTC"), **how)


def test_open_windows_come_first_and_then_the_newest():
    board = board_of(*(frame(item(M + minute * 60_000, 1.0 + minute)) for minute in range(4)))
    windows = of_btc(board, sizes_ms=ONE_MINUTE)
    assert [(w["final"], w["long_usd"]) for w in windows] == [(False, 4.0), (False, 3.0), (True, 2.0), (True, 1.0)]


def test_the_limit_is_for_each_length_of_window():
    board = board_of(*(frame(item(M + minute * 60_000)) for minute in range(12)))
    assert sorted(w["window"] for w in of_btc(board, limit=2)) == ["1m", "1m", "5m", "5m"]


def test_windows_of_many_keys_are_put_in_order_without_sorting_them_all():
    board = board_of(*(frame(item(M + n * 60_000, asset=a)) for n in range(5) for a in ("BTC", "ETH")))
    cells = [cell for line in board.lines(LIQUIDATION_VOLUME) for cell in newest(line, ONE_MINUTE, 10)]
    assert [cell.order for cell in in_order(cells)] == sorted(cell.order for cell in cells)


def test_rows_are_told_apart_by_aggregate_and_key():
    board = board_of(frame(item(M)), frame(item(M), channel=TRADES))
    assert [line.key for line in board.lines(LIQUIDATION_VOLUME)] == ["BTC"]
    assert [line.key for line in board.lines(TRADE_IMBALANCE)] == [TRADES]


def test_a_market_has_all_its_channels_and_no_other_market_s():
    names = ["Gate_BTC_USDT@1", "Gate_BTC_USDT@2", "Gate_BTC@1", "Gate@1_X@2"]
    board = board_of(*(frame(item(M), channel=f"futures_trades@{name}") for name in names))
    found = [line.key for line in board.market("Gate", "BTC_USDT")]
    assert found == ["futures_trades@Gate_BTC_USDT@1", "futures_trades@Gate_BTC_USDT@2"]
    assert board.market("Gate_BTC", "USDT") == []
    assert board.market("Gate", "USDT") == []


def test_a_final_shows_the_coverage_it_was_published_with():
    board = board_of(frame(item(M)), frame(item(M + 65_000)))
    (final,) = [w for w in of_btc(board, sizes_ms=ONE_MINUTE) if w["final"]]
    assert final["coverage"] is None
    assert (final["window_start"], final["window_end"], final["window"]) == (M, M + 60_000, "1m")


def test_windows_of_one_asset_in_two_partitions_are_both_answered():
    board = board_of(frame(item(M, 1.0)))
    board.replace(THERE, rows_of(frame(item(M, 2.0))))
    assert sorted(w["long_usd"] for w in of_btc(board, sizes_ms=ONE_MINUTE)) == [1.0, 2.0]


def test_a_row_that_changes_is_shown_as_it_is_now_and_a_deleted_one_no_more():
    board = board_of(frame(item(M, 1.0)))
    rows = rows_of(frame(item(M, 7.0)))
    board.apply(HERE, rows)
    assert {w["long_usd"] for w in of_btc(board)} == {7.0}
    board.apply(HERE, dict.fromkeys(rows))
    assert board.line(LIQUIDATION_VOLUME, "BTC") is None
    assert board.lines(LIQUIDATION_VOLUME) == []


def test_replacing_a_partition_s_rows_leaves_nothing_of_the_old_ones_and_touches_no_other_partition():
    board = board_of(frame(item(M)), frame(item(M), channel=TRADES))
    board.replace(THERE, rows_of(frame(item(M, asset="SOL"))))
    board.replace(HERE, rows_of(frame(item(M, asset="ETH"))))
    assert sorted(line.key for line in board.lines(LIQUIDATION_VOLUME)) == ["ETH", "SOL"]
    assert board.market("Binance", "BTCUSDT") == []


def test_rows_about_a_partition_are_kept_by_partition():
    board = board_of(frame(item(M)))
    assert json.loads(board.fact(HERE, watermark_key(0)))[0] == M - 5_000
    assert board.fact(THERE, watermark_key(0)) is None


def test_changed_windows_are_taken_once_however_often_they_changed_and_those_that_wait_longest_first():
    board = Board(SIZES)
    board.note(True)
    for usd, asset in ((1.0, "BTC"), (2.0, "ETH"), (3.0, "BTC")):
        board.replace(HERE, {**rows_of(frame(item(M, usd, asset=asset)))})
    board.replace(HERE, rows_of(frame(item(M, 4.0, asset="SOL")), frame(item(M, 5.0, asset="ADA"))))
    assert [cell.window.key for cell in board.take_changed(1)] == ["SOL"]
    assert {cell.window.key for cell in board.take_changed(9)} == {"SOL", "ADA"}
    assert board.take_changed(9) == []


def test_what_is_replaced_by_the_same_rows_has_not_changed():
    board, rows = Board(SIZES), rows_of(frame(item(M)))
    board.replace(HERE, rows)
    board.note(True)
    board.replace(HERE, dict(rows))
    assert board.take_changed(9) == []


def test_nothing_is_noted_while_nobody_takes_it():
    board = board_of(frame(item(M)))
    assert board.take_changed(9) == []


def test_a_line_s_version_changes_with_its_windows_alone():
    board = board_of(frame(item(M)), frame(item(M), channel=TRADES))
    before = board.line(LIQUIDATION_VOLUME, "BTC").version
    board.apply(HERE, rows_of(frame(item(M, 9.0), channel=TRADES)))
    assert board.line(LIQUIDATION_VOLUME, "BTC").version == before
    board.apply(HERE, rows_of(frame(item(M, 9.0))))
    assert board.line(LIQUIDATION_VOLUME, "BTC").version > before


def test_an_aggregate_s_version_changes_with_its_windows_alone():
    board = board_of(frame(item(M)), frame(item(M), channel=TRADES))
    before = dict(board.versions)
    board.apply(HERE, rows_of(frame(item(M, 9.0), channel=TRADES)))
    assert board.versions[LIQUIDATION_VOLUME.name] == before[LIQUIDATION_VOLUME.name]
    assert board.versions[TRADE_IMBALANCE.name] > before[TRADE_IMBALANCE.name]


def test_a_line_lacks_windows_only_where_its_own_table_is_full_of_such(monkeypatch):
    monkeypatch.setattr("processors.views.board.CLOSED_ROWS_KEPT", 3)
    board = board_of(*(frame(item(M + n * 60_000)) for n in range(3)))
    board.replace(THERE, rows_of(frame(item(M), channel=TRADES)))
    btc, trades = board.line(LIQUIDATION_VOLUME, "BTC"), board.line(TRADE_IMBALANCE, TRADES)
    assert board.lacks(btc, 60_000, limit=4)
    assert not board.lacks(btc, 60_000, limit=3)
    assert not board.lacks(btc, 300_000, limit=4)
    assert not board.lacks(trades, 60_000, limit=4)
    board.apply(HERE, {next(iter(board._cells[HERE])): None})
    assert not board.lacks(btc, 60_000, limit=4)


def test_a_board_that_forgot_knows_nothing():
    board = board_of(frame(item(M)), frame(item(M), channel=TRADES))
    board.forget()
    assert (board.lines(LIQUIDATION_VOLUME), board.lines(TRADE_IMBALANCE)) == ([], [])
    with pytest.raises(KeyError):
        board.apply(HERE, {})
