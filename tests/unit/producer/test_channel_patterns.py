"""Channels written short, and the file that names them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.channel_patterns import CHANNELS_MAX, expand, expanded
from producer.channels_file import FILE_BYTES_MAX, parse_channels
from schemas.errors import UsageError

MAJORS = {"majors": ["BTC", "ETH"]}


def test_alternatives_and_lists_stand_for_every_combination_in_order():
    assert expand("futures_trades@{Binance, OKX}_{majors}USDT@10000", MAJORS) == [
        "futures_trades@Binance_BTCUSDT@10000",
        "futures_trades@Binance_ETHUSDT@10000",
        "futures_trades@OKX_BTCUSDT@10000",
        "futures_trades@OKX_ETHUSDT@10000",
    ]
    assert expand("liquidationOrders", {}) == ["liquidationOrders"]


def test_a_channel_named_twice_or_in_both_spellings_is_one():
    names = expanded(["liquidation_orders", "futures_trades@{A,A}_B@1", "liquidationOrders", "futures_trades@A_B@1"])
    assert names == ("liquidation_orders", "futures_trades@A_B@1")


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("futures_trades@{A_B@1", "brace without its partner"),
        ("futures_trades@A}_B@1", "brace without its partner"),
        ("futures_trades@{A,{B,C}}_B@1", "one within another"),
        ("futures_trades@{A,}_B@1", "nothing between"),
        ("futures_trades@{}_B@1", "nothing between"),
        ("futures_trades@{minors}_B@1", "'minors' that is not there: there is majors"),
        ("futures_trades@{A,B}@1", "'futures_trades@A@1' is not a channel"),
        ("", "is not a channel"),
        ("futures_trades@A_" + "{a,b}" * 11 + "@1", f"more than {CHANNELS_MAX}"),
        ("futures_trades@A_" + "{a,b}" * 10_000 + "@1", f"more than {CHANNELS_MAX}"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, remedy: str):
    with pytest.raises(UsageError) as caught:
        expand(pattern, MAJORS)
    assert remedy in str(caught.value)


MANY = b",".join(b"%d" % n for n in range(CHANNELS_MAX - 2))

FILE = b"""\
# what we listen to
lists:
  majors: [BTC, NO, 1000]
channels:
  - liquidationOrders
  - futures_trades@{Binance,OKX}_{majors}USDT@10000
  - liquidation_orders
"""


def test_a_file_is_read_as_text_whatever_yaml_would_make_of_it():
    assert parse_channels(FILE) == (
        "liquidationOrders",
        *(f"futures_trades@{e}_{a}USDT@10000" for e in ("Binance", "OKX") for a in ("BTC", "NO", "1000")),
    )
    assert parse_channels(b"- liquidationOrders\n- 'futures_trades@{A,B}_C@1'") == (
        "liquidationOrders",
        "futures_trades@A_C@1",
        "futures_trades@B_C@1",
    )


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "names no channel"),
        (b"# nothing", "names no channel"),
        (b"[]", "names no channel"),
        (b"channels:", "names no channel"),
        (b"lists: {a: [b]}", "names no channel"),
        (b"liquidationOrders", "line 1: a list is wanted"),
        (b"channels: liquidationOrders", "line 1: a list is wanted"),
        (b"- liquidationOrders\n- nonsense", "line 2: 'nonsense' is not a channel"),
        (b"channels:\n - futures_trades@{a}_b@1", "line 2: 'futures_trades@{a}_b@1' asks for a list 'a'"),
        (b"channels: [liquidationOrders]\nchanels: []", "line 2: 'chanels' is nothing"),
        (b"channels: [liquidationOrders]\nchannels: []", "line 2: a name of its own"),
        (b"lists: [a]\nchannels: []", "line 1: names with lists are wanted"),
        (b"lists: {a: b}", "line 1: a list is wanted"),
        (b"lists: {a: []}\nchannels: ['futures_trades@{a}_b@1']", "the list 'a' is empty"),
        (b"- [liquidationOrders]", "line 1: a text is wanted"),
        (b"- liquidationOrders\n-", "line 2: a text is wanted"),
        (b"- a\n b: c\n- [", "it is not YAML"),
        (b"- 'a\n", "it is not YAML"),
        (b"--- a\n--- b", "it is not YAML"),
        (b"- \x07", "characters that YAML does not allow"),
        (b"\xff\xfe\xff", "not text in UTF-8"),
        (b"[" * 100_000, "nested without end"),
        (b"&a [*a]", "a text is wanted"),
        (b"- x" + b" " * FILE_BYTES_MAX, "larger than"),
        (b"- futures_trades@{a,b}_{c,d}@1\n" * 3 + b"- futures_trades@{%s}_c@1" % MANY, "line 4: that makes more than"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(content: bytes, remedy: str):
    with pytest.raises(UsageError) as caught:
        parse_channels(content)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary() | st.text(alphabet=":-[]{},&*!|>'\"% \n#?a").map(str.encode))
def test_no_bytes_raise_anything_else(content: bytes):
    with suppress(UsageError):
        assert parse_channels(content)
