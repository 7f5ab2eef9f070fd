"""The protocol without a socket: what each message is, and what is said when."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.notices import Verdict
from producer.protocol import (
    Action,
    Dead,
    FeedProtocol,
    Notice,
    Placed,
    Pong,
    RawKind,
    SendProbe,
    SendText,
    Unplaced,
)
from producer.settings import Timing

LIQUIDATIONS = b'{"channel":"liquidationOrders","data":[{"baseAsset":"BTC","price":56738.00,"volUsd":3858.18400}]}'
NO_PROBES = Timing(ping_every_ms=20, pong_timeout_ms=10, probe_every_ms=1_000_000)


def opened(timing: Timing | None = None) -> FeedProtocol:
    protocol = FeedProtocol(["liquidationOrders", "futures_trades@Gate_BTC_USDT@0"], timing or Timing())
    protocol.opened(0)
    return protocol


def timeline(protocol: FeedProtocol, events: str) -> str:
    """One character a ms in, one out: `p` a text pong, `h` anything heard -> `P` ping, `w` probe, `X` dead."""
    shown = {SendText: "P", SendProbe: "w", Dead: "X"}
    out = ""
    for now_ms, event in enumerate(events):
        if event == "p":
            protocol.message(b"pong", now_ms)
        elif event == "h":
            protocol.heard(now_ms)
        actions: list[Action] = protocol.tick(now_ms)
        out += "".join(shown[type(action)] for action in actions) or "."
        if "X" in out:
            break
    return out


def test_opening_subscribes_all_channels_and_closing_takes_that_back():
    protocol = FeedProtocol(["a", "b"], Timing())
    assert json.loads(protocol.opened(0).text) == {"method": "subscribe", "channels": ["a", "b"]}
    assert json.loads(protocol.closing().text) == {"method": "unsubscribe", "channels": ["a", "b"]}


def test_a_ping_goes_out_every_20_ms_of_this_clock_while_pongs_come():
    events = "....................." + "p" + "." * 19 + "p" + "." * 10
    wanted = "....................P" + "." * 19 + "P" + "." * 11
    assert timeline(opened(NO_PROBES), events) == wanted


def test_a_missing_pong_is_the_end_though_other_messages_come():
    assert timeline(opened(NO_PROBES), "h" * 40) == "." * 20 + "P" + "." * 9 + "X"


def test_a_late_pong_in_time_keeps_the_connection():
    assert timeline(opened(NO_PROBES), "." * 29 + "p" + "." * 10) == "." * 20 + "P" + "." * 19


def test_a_quiet_connection_is_probed_and_a_busy_one_is_not():
    timing = Timing(ping_every_ms=1_000, pong_timeout_ms=10, probe_every_ms=4)
    assert timeline(opened(timing), "........hhhhh......") == "....w...........w.."


def test_probes_without_an_answer_never_end_a_connection():
    assert "X" not in timeline(opened(Timing(1_000_000, 10, 2)), "." * 500)


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (LIQUIDATIONS, (RawKind.LIQUIDATIONS, b"liquidationOrders")),
        (b'{"channel":"liquidationOrders","data":[]}', (RawKind.LIQUIDATIONS, b"liquidationOrders")),
        (b' {"data":null,"x":1,\n"channel":"liquidationOrders"} ', (RawKind.LIQUIDATIONS, b"liquidationOrders")),
        (
            b'{"channel":"futures_trades@OKX_BTC-USDT-SWAP@10000","data":[1,"anything"]}',
            (RawKind.TRADES, b"futures_trades@OKX_BTC-USDT-SWAP@10000"),
        ),
        (b'{"channel":"liquidation_orders","data":[]}', (RawKind.LIQUIDATIONS, b"liquidationOrders")),
        ('{"channel":"liquidationOrders","data":["₿"]}'.encode(), (RawKind.LIQUIDATIONS, b"liquidationOrders")),
    ],
)
def test_a_frame_is_placed_by_its_channel_alone_and_its_bytes_stay(payload: bytes, place: tuple[RawKind, bytes]):
    assert opened().message(payload, 1) == Placed(*place, payload)


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b'{"channel":"fundingRate","data":[]}', "unknown-channel", "fundingRate"),
        (b'{"channel":"","data":[]}', "unknown-channel", ""),
        (b"", "malformed", "not JSON"),
        (b"hello", "malformed", "not JSON"),
        (b"ping", "malformed", "not JSON"),
        (b'{"channel":"liquidationOrders","data":[', "malformed", "not JSON"),
        (b"[]", "malformed", "not a JSON object"),
        (b'"text"', "malformed", "not a JSON object"),
        (b"null", "malformed", "not a JSON object"),
        (b'{"data":[]}', "malformed", "without the name of a channel"),
        (b'{"channel":7,"data":[]}', "malformed", "without the name of a channel"),
        (b"\x89PNG\xff", "malformed", "not UTF-8"),
        (b'{"channel":"liquidationOrders","data":["\xff"]}', "malformed", "not UTF-8"),
        (b'{"channel":"liquidationOrders","data":' + b"[" * 100_000, "malformed", "not JSON"),
    ],
)
def test_what_cannot_be_placed_says_why_and_its_bytes_stay(payload: bytes, reason: str, detail: str):
    message = opened().message(payload, 1)
    assert isinstance(message, Unplaced)
    assert (message.reason, message.payload) == (reason, payload)
    assert detail in message.detail


@pytest.mark.parametrize(
    "payload", [b'{"event":"subscribed"}', b'{"code":"400","msg":"no"}', b'{"channel":"x"}', b"{}"]
)
def test_objects_without_data_are_notices(payload: bytes):
    notice = opened().message(payload, 1)
    assert isinstance(notice, Notice)
    assert notice.text == payload.decode()


@pytest.mark.parametrize("payload", [b"pong", b" pong\n", b'"pong"'])
def test_a_pong_is_known_by_its_text(payload: bytes):
    assert opened().message(payload, 1) == Pong()


def test_everything_that_arrives_is_heard_and_time_does_not_go_back():
    protocol = opened()
    for now_ms, payload in ((5, b"pong"), (9, b"\xff"), (7, LIQUIDATIONS)):
        protocol.message(payload, now_ms)
    assert protocol.heard_at_ms == 9


def test_channels_without_number_do_not_fill_the_memory():
    protocol = opened()
    for number in range(10_000):
        protocol.message(b'{"channel":"futures_trades@A_B@%d","data":[]}' % number, 1)
    assert len(protocol._places) <= 4_096


ALL = ("liquidationOrders", "futures_trades@Gate_BTC_USDT@0")


def test_an_error_that_names_a_channel_ends_the_belief_in_it_until_a_frame_of_it_comes():
    protocol = opened()
    refusal = protocol.message(b'{"event":"error","message":"no such channel: futures_trades@Gate_BTC_USDT@0"}', 5)
    assert isinstance(refusal, Notice)
    assert (refusal.verdict, refusal.channels) == (Verdict.REFUSED, ALL[1:])
    assert protocol.subscription.claimed == ALL[:1]
    protocol.message(b'{"channel":"futures_trades@Gate_BTC_USDT@0","data":[]}', 6)
    assert protocol.subscription.claimed == ALL


def test_an_error_that_names_none_is_held_to_mean_all_that_were_never_heard():
    protocol = opened()
    protocol.message(LIQUIDATIONS, 3)
    protocol.message(b'{"code":"40001","msg":"upgrade your plan"}', 5)
    assert protocol.subscription.claimed == ("liquidationOrders",)
    again = protocol.message(b'{"code":"40001","msg":"upgrade your plan"}', 6)
    assert isinstance(again, Notice)
    assert again.channels == ()  # nothing new


def test_an_acknowledgement_that_names_a_refused_channel_restores_it():
    protocol = opened()
    protocol.message(b'{"success":false}', 5)
    assert protocol.subscription.claimed == ()
    protocol.message(b'{"event":"unsubscribe","success":true,"channels":["liquidationOrders"]}', 6)
    assert protocol.subscription.claimed == ()
    protocol.message(b'{"event":"subscribe","success":true,"channels":["liquidationOrders"]}', 6)
    assert protocol.subscription.claimed == ("liquidationOrders",)


def test_what_was_refused_is_asked_for_again_now_and_then():
    protocol = opened(Timing(10**6, 10**6, 10**6, ask_again_every_ms=100))
    protocol.message(b'{"error":"liquidationOrders"}', 50)
    assert [n for n in range(400) if protocol.tick(n)] == [150, 250, 350]
    (request,) = protocol.tick(450)
    assert json.loads(request.text) == {"method": "subscribe", "channels": ["liquidationOrders"]}


def test_channels_that_change_are_told_the_feed_and_a_new_spelling_is_no_change():
    protocol = opened()
    assert protocol.follow(["liquidation_orders", "futures_trades@Gate_BTC_USDT@0"], 5) == []
    taken_back, asked = protocol.follow(["liquidationOrders", "futures_trades@OKX_A@1"], 6)
    assert json.loads(taken_back.text) == {"method": "unsubscribe", "channels": ["futures_trades@Gate_BTC_USDT@0"]}
    assert json.loads(asked.text) == {"method": "subscribe", "channels": ["futures_trades@OKX_A@1"]}
    assert protocol.subscription.claimed == ("liquidationOrders", "futures_trades@OKX_A@1")
    protocol.message(b'{"channel":"futures_trades@OKX_A@1","data":[]}', 7)
    assert protocol.subscription.frames_at_ms == {"liquidationOrders": 0, "futures_trades@OKX_A@1": 7}


def test_the_subscription_is_sent_as_it_was_configured_and_claimed_by_its_canonical_name():
    protocol = FeedProtocol(["liquidation_orders"], Timing())
    assert json.loads(protocol.opened(0).text)["channels"] == ["liquidation_orders"]
    assert protocol.subscription.claimed == ("liquidationOrders",)
    protocol.message(b'{"error":"liquidationOrders"}', 1)
    assert json.loads(protocol.tick(10**6)[-1].text)["channels"] == ["liquidation_orders"]
    protocol.message(b'{"channel":"liquidation_orders","data":[]}', 2)
    assert protocol.subscription.claimed == ("liquidationOrders",)


@given(st.binary() | st.text().map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["channel", "data", "x"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_bytes_raise_and_none_are_changed(payload: bytes):
    message = opened().message(payload, 1)
    if isinstance(message, Placed | Unplaced):
        assert message.payload == payload
    else:
        assert payload.strip() in (b"pong", b'"pong"') or b'"channel"' not in payload or b'"data"' not in payload or (
            isinstance(message, Notice) and "data" not in json.loads(payload)
        )  # fmt: skip
