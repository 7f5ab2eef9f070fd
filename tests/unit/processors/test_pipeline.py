"""One partition's step, minute by minute. M is the start of a minute; times in ms from it."""

import json
from datetime import UTC, datetime

import pytest

from processors.pipeline import CLOSED_ROWS_KEPT, CLOSED_WINDOWS_KEPT
from schemas.errors import UsageError
from tests.unit.processors.records import LIQUIDATIONS, NOW_MS, TRADES, Raw, frame, item, mark, pipeline, published, run

M = NOW_MS - NOW_MS % 60_000


def at(ms):
    return datetime.fromtimestamp(ms / 1e3, UTC)


def test_a_window_is_final_when_the_watermark_reaches_its_end_and_not_before():
    # watermark = highest time - 5,000:        64,999 -> 59,999    65,000 -> 60,000
    before = [frame(item(M + 10, 5.0)), frame(item(M + 64_999, 7.0))]
    assert run(before) == []
    ((topic, key, final),) = run([*before, frame(item(M + 65_000, 7.0))])
    assert (topic, key) == ("liquidation-volume.1m", "BTC")
    assert (final["window_start"], final["window_end"]) == (at(M), at(M + 60_000))
    assert (final["long_usd"], final["short_usd"], final["long_count"], final["revision"]) == (5.0, 0.0, 1, 0)


def test_a_windows_end_belongs_to_the_next_window():
    finals = run([frame(item(M + 59_999, 1.0), item(M + 60_000, 2.0)), frame(item(M + 200_000))])
    assert [(f["window_start"], f["long_usd"]) for _, _, f in finals] == [(at(M), 1.0), (at(M + 60_000), 2.0)]


def test_sums_are_exact_where_doubles_are_not():
    items = [item(M + i, 0.1) for i in range(10)] + [item(M, 1e12 + 0.3, side=2)]
    ((_, _, final),) = run([frame(*items), frame(item(M + 65_000))])
    assert final["long_usd"] == 1.0  # ten doubles of 0.1 add up to 0.9999999999999999
    assert final["largest_usd"] == final["short_usd"] == 1_000_000_000_000.3


def test_finals_of_one_closing_come_by_window_start_then_key():
    records = [
        frame(
            item(M + 60_001, asset="BTC"), item(M + 2, asset="SOL"), item(M + 3, asset="BTC"), item(M + 4, asset="ADA")
        ),
        frame(item(M + 300_000)),
    ]
    assert [(f["window_start"], key) for _, key, f in run(records)] == [
        (at(M), "ADA"), (at(M), "BTC"), (at(M), "SOL"), (at(M + 60_000), "BTC"),
    ]  # fmt: skip


def test_a_record_is_late_by_the_watermark_as_it_stood_at_that_record():
    """One frame: in time, then one that closes the minute, then the same minute again: only that one is late."""
    (final_topic, _, final), (late_topic, key, late) = run([frame(item(M), item(M + 65_000), item(M + 1, 9.0))])
    assert (final_topic, final["long_usd"]) == ("liquidation-volume.1m", 1.0)
    assert (late_topic, key) == ("late", LIQUIDATIONS)
    assert (late["vol_usd"], late["index"], late["watermark"], late["window_end"]) == (
        9.0,
        2,
        at(M + 60_000),
        at(M + 60_000),
    )
    assert (late["topic"], late["partition"], late["offset"]) == ("coinglass.raw.trades", 0, 0)


def test_a_record_is_late_for_each_window_of_its_own():
    records = [frame(item(M)), frame(item(M + 65_000)), frame(item(M + 1, 9.0)), frame(item(M + 305_000))]
    out = run(records, "1m", "5m")
    assert [(n, v["window_end"]) for n, _, v in out if n == "late"] == [("late", at(M + 60_000))]
    five = M - M % 300_000
    assert [v["long_usd"] for n, _, v in out if n.endswith(".5m") and v["window_start"] == at(five)] == [11.0]


def test_a_mark_closes_a_window_that_nothing_came_after():
    # mark-delay 10,000: at 70,000 it says 60,000
    assert run([frame(item(M)), mark("alive", M + 69_999)]) == []
    assert len(run([frame(item(M)), mark("alive", M + 70_000)])) == 1


def test_the_watermark_never_goes_back():
    step = pipeline()
    step.process([frame(item(M + 65_000)), frame(item(M + 30_000)), mark("alive", M + 10_000)])
    assert step.watermark_ms == M + 60_000


def test_coverage_tells_missing_from_quiet():
    up, down = mark("up", M - 1_000), mark("down", M + 30_000)
    again = mark("up", M + 45_000, connection="c2")
    heard = mark("alive", M + 70_000, connection="c2")
    ((_, _, final),) = run([up, frame(item(M)), down, again, heard])
    assert final["coverage"] == 0.75


@pytest.mark.parametrize(("assume", "coverage"), [(False, None), (True, 1.0)])
def test_without_any_marks_coverage_is_unknown_unless_assumed(assume, coverage):
    ((_, _, final),) = run([frame(item(M)), frame(item(M + 65_000))], assume_coverage=assume)
    assert final["coverage"] is coverage or final["coverage"] == coverage


def test_marks_of_other_channels_cover_nothing():
    ((_, _, final),) = run(
        [mark("up", M, channels=[TRADES]), frame(item(M)), mark("alive", M + 70_000, channels=[TRADES])]
    )
    assert final["coverage"] == 0.0


def test_open_and_close_go_by_event_time_and_ties_by_arrival():
    items = [
        item(M + 5, 10.0, price=5.0), item(M + 1, 10.0, price=1.0), item(M + 1, 10.0, price=2.0, side=2),
        item(M + 9, 20.0, price=9.0, side=2), item(M + 9, 10.0, price=8.0),
    ]  # fmt: skip
    ((_, key, final),) = run([frame(*items, channel=TRADES), frame(item(M + 65_000), channel=TRADES)])
    assert key == TRADES
    assert (final["open"], final["high"], final["low"], final["close"]) == (1.0, 9.0, 1.0, 8.0)
    assert (final["sell_usd"], final["buy_usd"], final["net_usd"], final["imbalance"]) == (30.0, 30.0, 0.0, 0.0)
    assert final["vwap"] == pytest.approx(60 / (10 / 5 + 10 / 1 + 10 / 2 + 20 / 9 + 10 / 8))
    assert (final["exchange"], final["symbol"], final["min_vol_usd"]) == ("Binance", "BTCUSDT", 10_000.0)


def test_two_smallest_volumes_of_a_market_are_never_added_together():
    other = TRADES.replace("10000", "50000")
    out = run([frame(item(M), channel=TRADES), frame(item(M), channel=other), mark("alive", M + 70_000)])
    assert [(key, v["sell_count"]) for _, key, v in out] == [(TRADES, 1), (other, 1)]


BAD = {
    "not JSON": (b"{", "malformed"),
    "not UTF-8": (b'{"channel":"liquidationOrders","data":[],"x":"\xff"}', "malformed"),
    "no value": (None, "malformed"),
    "an array": (b"[]", "malformed"),
    "a field missing": (b'{"channel":"liquidationOrders","data":[{"side":1}]}', "malformed"),
    "nested without end": (b'{"channel":"liquidationOrders","data":[],"x":' + b"[" * 100_000, "malformed"),
    "a channel nobody knows": (b'{"channel":"tickers","data":[]}', "unknown-channel"),
}


@pytest.mark.parametrize(("value", "reason"), BAD.values(), ids=BAD)
def test_a_frame_that_cannot_be_read_goes_to_the_dead_letters_whole(value, reason):
    step = pipeline()
    step.process([Raw(17, NOW_MS, b"some key", value)])
    (result,) = step.take().results
    headers = dict(result.headers)
    assert (result.topic, result.key, result.value) == ("coinglass.dead-letters", b"some key", value)
    assert (headers["error.reason"], headers["error.records"]) == (reason.encode(), b"[]")
    assert (headers["source.topic"], headers["source.partition"], headers["source.offset"]) == (
        b"coinglass.raw.trades",
        b"0",
        b"17",
    )
    assert headers["source.timestamp"] == str(NOW_MS).encode()
    assert step.counts[f"rejected/{reason}"] == 1


BAD_ITEMS = {
    "side 3": {"side": 3}, "side 0": {"side": 0}, "a negative volume": {"volUsd": -0.01}, "no price": {"price": 0},
    "a negative price": {"price": -1}, "no asset": {"baseAsset": ""}, "a long symbol": {"symbol": "x" * 65},
    "no exchange": {"exName": ""}, "time 0": {"time": 0},
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_the_good_records_of_a_frame_count_and_the_bad_ones_are_named(bad):
    out = run([frame(item(M, 1.0), {**item(M, 2.0), **bad}, item(M, 4.0)), frame(item(M + 65_000))])
    assert [(v["error.reason"], v["error.records"]) for n, _, v in out if n == "dead-letters"] == [
        ("bad-record", "[1]")
    ]
    assert [v["long_usd"] for n, _, v in out if n != "dead-letters"] == [5.0]


def test_a_record_from_the_future_is_rejected_and_moves_nothing():
    step = pipeline()
    step.process([frame(item(M), item(M + 60_001), item(M + 60_000), received=M)])
    (result,) = step.take().results
    assert dict(result.headers)["error.reason"] == b"future-time"
    assert json.loads(dict(result.headers)["error.records"]) == [1]
    assert step.watermark_ms == M + 55_000


def test_a_mark_from_the_future_moves_nothing():
    step = pipeline()
    wrong = mark("alive", M + 60_001)
    wrong.timestamp = M
    step.process([frame(item(M)), wrong])
    assert step.watermark_ms == M - 5_000
    assert published(step.take())[0][2]["error.reason"] == "future-time"


def test_unknown_fields_are_accepted_and_counted():
    step = pipeline()
    step.process([frame(item(M, 3.0, newField=1, other=[1]), version=2), frame(item(M + 65_000))])
    assert step.counts["unknown-fields"] == 3
    assert published(step.take())[0][2]["long_usd"] == 3.0


def test_an_empty_frame_is_accepted():
    assert run([frame()]) == []


def test_results_bear_the_receive_time_of_the_record_that_caused_them():
    step = pipeline()
    step.process([frame(item(M)), frame(item(M + 65_000), received=M + 65_123)])
    (result,) = step.take().results
    assert result.timestamp_ms == M + 65_123


def restored(step, rows):
    fresh = pipeline()
    fresh.restore(rows)
    return fresh


def test_a_restored_step_goes_on_as_if_nothing_had_happened():
    first, rest = [mark("up", M), frame(item(M, 1.0))], [frame(item(M + 1, 2.0)), mark("alive", M + 70_000)]
    step = pipeline()
    step.process(first)
    fresh = restored(step, step.take().rows)
    fresh.process(rest)
    step.process(rest)
    assert fresh.take() == step.take()


def test_state_made_with_other_settings_is_refused():
    step = pipeline()
    step.process([frame(item(M))])
    other = pipeline("5m")
    with pytest.raises(UsageError, match="new --app-id"):
        other.restore(step.take().rows)


def test_only_what_changed_is_handed_over():
    step = pipeline()
    step.process([frame(item(M, asset="BTC")), frame(item(M, asset="ETH"))])
    step.take()
    step.process([frame(item(M, asset="ETH"))])
    keys = [json.loads(key) for key in step.take().rows]
    assert [key for key in keys if key[1] == "window"] == [[0, "window", "liquidation-volume", 60_000, M, "ETH"]]


def test_closed_windows_are_kept_for_a_while_and_then_deleted():
    step, rows = pipeline(), {}
    for minute in range(CLOSED_WINDOWS_KEPT + 10):
        step.process([frame(item(M + minute * 60_000))])
        rows |= step.take().rows
    windows = [key for key, row in rows.items() if row is not None and b"window" in key]
    assert CLOSED_WINDOWS_KEPT - 2 <= len(windows) <= CLOSED_WINDOWS_KEPT + 2


def test_however_many_keys_close_the_table_and_the_memory_stay_bounded():
    step, rows = pipeline("1s"), {}
    for second in range(25):
        step.process([frame(*(item(M + second * 1_000, asset=f"A{second}-{i}") for i in range(1_000)))])
        rows |= step.take().rows
    assert sum(row is not None and b"window" in key for key, row in rows.items()) <= CLOSED_ROWS_KEPT + 7_000
    assert sum(len(lane.slots) for lane in step._open.lanes.values()) <= 7_000


def test_many_short_windows_do_not_push_out_the_long_ones(monkeypatch):
    monkeypatch.setattr("processors.pipeline.CLOSED_ROWS_KEPT", 30)
    step, rows = pipeline("1m", "1h"), {}
    for minute in range(0, 190, 2):
        step.process([frame(item(M + minute * 60_000))])
        rows |= step.take().rows
    windows = [json.loads(key) for key, row in rows.items() if row is not None and b"window" in key]
    assert sum(size == 3_600_000 for _, _, _, size, *_ in windows) == 4  # three of them closed
    assert 30 <= sum(size == 60_000 for _, _, _, size, *_ in windows) <= 35


def test_a_frame_that_closes_its_own_window_never_adds_to_what_was_closed():
    """The slot that was at hand points at a closed window: the next record of the frame must see that."""
    out = run(
        [
            frame(item(M, 1.0), item(M + 65_000, 2.0), item(M + 2, 4.0), item(M + 64_000, 8.0)),
            mark("alive", M + 130_000),
        ]
    )
    assert [(n, v.get("long_usd")) for n, _, v in out] == [
        ("liquidation-volume.1m", 1.0),
        ("late", None),
        ("liquidation-volume.1m", 10.0),
    ]


def test_a_feed_that_changes_its_fields_shows_in_the_counts():
    step = pipeline()
    step.process([frame(item(NOW_MS, leverage=20)), frame({**item(NOW_MS), "price": "100.0"}), frame(item(NOW_MS))])
    assert step.drift.frames == {("data.leverage", "unknown"): 1, ("data.price", "string instead of double"): 1}
