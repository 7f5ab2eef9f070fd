"""Faults: how they are named, when they are due, and that each spoils just what it says. The pace, too."""

import gzip
import json
import random

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.simulate.faults import FAULTS, SPOILED, Fault, Schedule, parse_faults, spoil
from sandbox.simulate.market import Frame, Market, encode
from sandbox.simulate.pace import Pace
from sandbox.simulate.requests import answer
from schemas.channels import LIQUIDATIONS, parse_channel
from schemas.codec import parsed_schema
from schemas.durations import Duration
from schemas.errors import UsageError

NOW_MS = 1_725_416_318_379
SEEDS = st.integers(0, 2**32)
FRAME_SCHEMA = parsed_schema("frame")


def _frame(seed: int) -> Frame:
    market = Market(seed, NOW_MS)
    market.listen([LIQUIDATIONS, "futures_trades@OKX_BTC-USDT-SWAP@1000"])
    return market.frames(NOW_MS, 1)[0]


def _spoiled(name: str, seed: int) -> tuple[Frame, dict]:
    frame = _frame(seed)
    message = spoil(name, frame, NOW_MS, random.Random(seed))
    assert not message.binary
    return frame, json.loads(message.payload)


def _is_bad(record: dict) -> bool:
    names = [record["baseAsset"], record["exName"], record["symbol"]]
    return (
        record["side"] not in (1, 2)
        or record["volUsd"] < 0
        or record["price"] <= 0
        or record["time"] <= 0
        or not all(0 < len(name) <= 64 for name in names)
    )


def test_faults_are_read_with_and_without_an_interval_and_in_any_number_of_flags() -> None:
    assert parse_faults(["disconnect:30s, garbage", "late:2m"]) == (
        Fault("disconnect", Duration("30s", 30_000)),
        Fault("garbage", Duration("10s", 10_000)),
        Fault("late", Duration("2m", 120_000)),
    )
    assert parse_faults([]) == parse_faults([""]) == ()


def test_all_is_every_fault_and_what_comes_later_wins() -> None:
    chosen = {fault.name: fault.every.text for fault in parse_faults(["all", "disconnect:1s"])}
    assert list(chosen) == list(FAULTS)
    assert chosen["disconnect"] == "1s"
    assert {fault.every.ms for fault in parse_faults(["all:5s"])} == {5_000}


@pytest.mark.parametrize("text", ["nonsense", "garbage:", "garbage:often", "garbage:1ms", "late:0s", "GARBAGE"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_faults([text])


def test_an_unknown_fault_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'fire' is not a fault: choose from disconnect, half-open, .*, all"):
        parse_faults(["fire"])


def test_a_fault_is_due_once_an_interval_and_a_stretch_slept_through_counts_once() -> None:
    #  0s      1s      2s  …        7.5s    8s
    #  start   due     due  (sleep)  due     due
    schedule = Schedule([Fault("late", Duration("1s", 1_000))], now_ms=0)
    assert [bool(schedule.due(ms)) for ms in (0, 999, 1_000, 1_001, 2_000, 7_500, 7_999, 8_000)] == [
        False,
        False,
        True,
        False,
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("name", SPOILED)
@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_spoiled_message_leaves_the_frame_it_was_made_of_alone(name: str, seed: int) -> None:
    frame = _frame(seed)
    before = encode(frame)
    assert spoil(name, frame, NOW_MS, random.Random(seed)).payload != before
    assert encode(frame) == before


@given(seed=SEEDS)
@settings(deadline=None)
def test_garbage_is_utf8_and_not_json(seed: int) -> None:
    message = spoil("garbage", _frame(seed), NOW_MS, random.Random(seed))
    with pytest.raises(json.JSONDecodeError):
        json.loads(message.payload.decode())


@given(seed=SEEDS)
@settings(deadline=None)
def test_bad_utf8_is_a_text_message_that_does_not_decode(seed: int) -> None:
    message = spoil("bad-utf8", _frame(seed), NOW_MS, random.Random(seed))
    assert not message.binary
    with pytest.raises(UnicodeDecodeError):
        message.payload.decode()


@given(seed=SEEDS)
@settings(deadline=None)
def test_binary_is_a_binary_message_with_the_frame_compressed(seed: int) -> None:
    message = spoil("binary", _frame(seed), NOW_MS, random.Random(seed))
    assert message.binary
    assert gzip.decompress(message.payload) == encode(_frame(seed))


@given(seed=SEEDS)
@settings(deadline=None)
def test_an_unknown_channel_is_one_that_the_contract_does_not_know(seed: int) -> None:
    _, sent = _spoiled("unknown-channel", seed)
    assert parse_channel(sent["channel"]) is None
    assert fastavro.validation.validate(sent, FRAME_SCHEMA)


@given(seed=SEEDS)
@settings(deadline=None)
def test_unknown_fields_come_on_top_of_the_sound_frame(seed: int) -> None:
    frame, sent = _spoiled("unknown-fields", seed)
    assert set(sent) > {"channel", "data"}
    sound = json.loads(encode(frame))
    for record, as_it_was in zip(sent["data"], sound["data"], strict=True):
        assert set(record) > set(as_it_was)
        assert {**record, **as_it_was} == record


@given(seed=SEEDS)
@settings(deadline=None)
def test_bad_records_stand_among_all_the_good_ones(seed: int) -> None:
    frame, sent = _spoiled("bad-records", seed)
    assert any(_is_bad(record) for record in sent["data"])
    key = json.dumps
    assert sorted(map(key, json.loads(encode(frame))["data"])) == sorted(
        key(record) for record in sent["data"] if not _is_bad(record)
    )


@given(seed=SEEDS)
@settings(deadline=None)
def test_a_record_of_the_future_is_more_than_a_minute_ahead(seed: int) -> None:
    frame, sent = _spoiled("future-time", seed)
    assert [record["time"] > NOW_MS + 60_000 for record in sent["data"]] == [False] * len(frame.data) + [True]


@given(seed=SEEDS)
@settings(deadline=None)
def test_late_records_are_minutes_old(seed: int) -> None:
    _, sent = _spoiled("late", seed)
    assert all(120_000 <= NOW_MS - record["time"] <= 600_000 for record in sent["data"])


@given(rate=st.floats(0.5, 50_000), steps_ms=st.lists(st.integers(0, 3_000), min_size=1, max_size=100))
def test_the_pace_is_held_by_the_clock_whatever_the_wake_ups(rate: float, steps_ms: list[int]) -> None:
    pace, now_ms, sent = Pace(rate, 0), 0, 0
    for step_ms in steps_ms:
        now_ms += step_ms
        due = pace.due(now_ms)
        pace.sent(due)
        sent += due
    assert abs(sent - rate * now_ms / 1_000) <= 1 + 1e-6 * sent


def test_frames_too_many_are_taken_off_the_next_ones() -> None:
    pace = Pace(10, 0)
    assert pace.due(1_000) == 10
    pace.sent(15)
    assert pace.due(1_400) == 0
    assert pace.due(2_000) == 5


def test_arrears_beyond_ten_seconds_are_forgiven() -> None:
    assert Pace(10, 0).due(3_600_000) == 100


def test_time_without_listeners_counts_for_nothing() -> None:
    pace = Pace(10, 0)
    pace.rest(5_000)
    assert pace.due(5_500) == 5


def test_a_burst_multiplies_the_rate_for_its_time_only() -> None:
    # |--- x20 for 2 s ---|--- x1 for 1 s ---|
    pace = Pace(10, 0)
    pace.hurry(20, 0, 2_000)
    assert pace.due(1_000) == 200
    assert pace.due(3_000) == 400 + 10


def test_ping_is_answered_with_pong_and_changes_nothing() -> None:
    answered = answer("ping", frozenset({LIQUIDATIONS}))
    assert answered.replies == (b"pong",)
    assert answered.subscribed == {LIQUIDATIONS}


def test_known_channels_are_subscribed_and_unknown_ones_named_in_an_error() -> None:
    answered = answer('{"method":"subscribe","channels":["liquidationOrders","nonsense"]}', frozenset())
    assert answered.subscribed == {LIQUIDATIONS}
    acknowledged, refused = map(json.loads, answered.replies)
    assert acknowledged == {"event": "subscribe", "success": True, "channels": [LIQUIDATIONS]}
    assert refused == {"event": "error", "success": False, "message": "unknown channel: nonsense"}


def test_unsubscribing_is_acknowledged_and_what_was_not_subscribed_does_no_harm() -> None:
    answered = answer('{"method":"unsubscribe","channels":["liquidationOrders","x"]}', frozenset({LIQUIDATIONS}))
    assert answered.subscribed == frozenset()
    assert json.loads(answered.replies[0])["event"] == "unsubscribe"


@given(message=st.text() | st.binary())
def test_no_message_breaks_the_server(message: str | bytes) -> None:
    replies = answer(message, frozenset()).replies
    assert all(isinstance(json.loads(reply), dict) or reply == b"pong" for reply in replies if reply != b"pong")


@pytest.mark.parametrize("message", ["[]", "{}", "pong", '{"method":"dance","channels":[]}', b"\xff"])
def test_a_bad_request_is_answered_with_an_error_object(message: str | bytes) -> None:
    [reply] = answer(message, frozenset()).replies
    assert json.loads(reply)["event"] == "error"
