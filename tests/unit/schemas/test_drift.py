import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.drift import (
    DRIFTS_MAX,
    NAME_CHARACTERS_MAX,
    OTHER,
    RECORDS_MAX,
    WAYS_KEPT_MAX,
    Drift,
    DriftCounts,
    aliases_of,
    drift_of,
)
from schemas.untrusted_json import NESTING_MAX

RECORD = {
    "baseAsset": "BTC",
    "exName": "Binance",
    "price": 56738.0,
    "side": 2,
    "symbol": "BTCUSDT",
    "time": 1_725_416_318_379,
    "volUsd": 3858.184,
}
NEWER = {"baseAsset": "base_asset", "exName": "exchange", "volUsd": "volume_usd"}


def frame(*records, **more):
    return json.dumps({"channel": "liquidationOrders", "data": records, **more}).encode()


def without(name, **more):
    return {key: value for key, value in RECORD.items() if key != name} | more


def newer(record):
    return {NEWER.get(name, name): value for name, value in record.items()}


def test_a_frame_of_the_schema_has_not_drifted():
    assert drift_of(frame(RECORD, RECORD)) == drift_of(frame()) == ()
    assert aliases_of(frame(RECORD)) == frozenset()


def test_a_whole_number_is_a_double_too():
    assert drift_of(frame(RECORD | {"price": 56738, "volUsd": 0})) == ()


CASES = {
    "an unknown field of a record": (frame(RECORD | {"leverage": 20}), [("data.leverage", "unknown")]),
    "an unknown field of the frame": (frame(RECORD, ts=1), [("ts", "unknown")]),
    "a field that is not there": (frame(without("side")), [("data.side", "missing")]),
    "a renamed field": (frame(without("side", direction=2)), [("data.direction", "unknown"), ("data.side", "missing")]),
    "a number in quotes": (frame(RECORD | {"price": "56738.00"}), [("data.price", "string instead of double")]),
    "a name that is null": (frame(RECORD | {"exName": None}), [("data.exName", "null instead of string")]),
    "a time in seconds": (frame(RECORD | {"time": 1725416318.379}), [("data.time", "double instead of long")]),
    "a truth for a number": (frame(RECORD | {"side": True}), [("data.side", "boolean instead of int")]),
    "a newer name with another type": (
        frame(without("volUsd", volume_usd="1")),
        [("data.volume_usd", "string instead of double")],
    ),
    "both spellings at once": (
        frame(RECORD | {"volume_usd": 1.0}),
        [("data.volUsd", "twice, in two spellings")],
    ),
    "one record that is no list": (
        json.dumps({"channel": "c", "data": RECORD}).encode(),
        [("data", "object instead of array")],
    ),
    "records as lists": (frame([1, 2]), [("data", "array instead of object")]),
    "a list of frames": (b"[]", [("", "array instead of object")]),
    "nothing of it": (b"{}", [("channel", "missing"), ("data", "missing")]),
    "compressed": (b"\x1f\x8b\x08\x00", [("", "not JSON")]),
    "cut off": (frame(RECORD)[:-1], [("", "not JSON")]),
    "not UTF-8": (b'{"channel":"\xff","data":[]}', [("", "not JSON")]),
}


@pytest.mark.parametrize(("payload", "found"), CASES.values(), ids=CASES)
def test_what_differs_is_told_by_path(payload, found):
    assert drift_of(payload) == tuple(Drift(*one) for one in found)


def test_a_difference_is_told_once_however_many_records_have_it():
    assert drift_of(frame(*[RECORD | {"leverage": n} for n in range(50)])) == (Drift("data.leverage", "unknown"),)


def test_the_newer_spelling_is_no_drift_and_is_told_apart():
    payload = frame(RECORD, newer(RECORD))
    assert drift_of(payload) == ()
    assert aliases_of(payload) == {"data.base_asset", "data.exchange", "data.volume_usd"}


def test_a_frame_that_differs_everywhere_is_told_in_part():
    assert len(drift_of(frame(RECORD | {f"f{n}": n for n in range(1_000)}))) == DRIFTS_MAX
    assert drift_of(frame(*[RECORD] * RECORDS_MAX, {})) == ()


def test_a_name_from_outside_is_shown_short_and_without_control_characters():
    (drift,) = drift_of(frame(RECORD | {"\x1b[2J" + "x" * 1_000: 1}))
    assert drift.path == "data.�[2J" + "x" * (NAME_CHARACTERS_MAX - 4)


def test_nesting_has_a_bound_of_its_own():
    deep = b"[" * NESTING_MAX + b"]" * NESTING_MAX
    within, beyond = b'{"a":%s}' % deep[1:-1], b'{"a":%s}' % deep
    assert drift_of(within) == (Drift("a", "unknown"), Drift("channel", "missing"), Drift("data", "missing"))
    assert drift_of(beyond) == (Drift("", "nested deeper than 64"),)
    assert drift_of(b"[" * 1_000_000) == (Drift("", "nested deeper than 64"),)
    assert aliases_of(beyond) == frozenset()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*RECORD, "volume_usd"]), inner),
    max_leaves=10,  # rather more fields than deeper ones: depth has a test of its own
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_make_it_raise(payload):
    for drift in drift_of(payload):
        assert drift.what
    aliases_of(payload)


@given(st.dictionaries(st.text() | st.sampled_from([*RECORD, *NEWER.values()]), json_values))
def test_whatever_a_record_holds_the_number_of_differences_is_bounded(record):
    payload = frame(record)
    assert len(drift_of(payload)) <= DRIFTS_MAX
    assert drift_of(payload) == drift_of(payload)


def test_ways_to_differ_are_counted_apart_up_to_a_bound():
    counts = DriftCounts()
    for number in range(WAYS_KEPT_MAX + 5):
        for _ in range(2):
            counts.add(json.dumps({"channel": "x", "data": [], f"field{number}": 1}).encode())
    assert counts.frames[Drift("field0", "unknown")] == 2
    assert counts.frames[OTHER] == 10
    assert len(counts.frames) == WAYS_KEPT_MAX + 1
