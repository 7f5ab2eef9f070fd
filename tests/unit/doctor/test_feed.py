from collections import Counter

import pytest

from coinglass_streams.doctor.feed import FeedSeen, is_refusal, judge_channels, judge_clock, judge_connection
from coinglass_streams.doctor.findings import Level
from schemas.channels import parse_channel

LIQUIDATIONS, TRADES = "liquidationOrders", "futures_trades@Binance_BTCUSDT@10000"
DELAY_MS = 10_000


def seen(*, frames=None, **more):
    counted = Counter({parse_channel(name): count for name, count in (frames or {}).items()})
    return FeedSeen(**({"handshake_ms": 84, "listened_ms": 5_000, "pong_ms": 31} | more), frames=counted)


def test_a_connection_says_how_long_handshake_and_pong_took():
    finding = judge_connection("wss://feed/ws-api", seen(tls="TLSv1.3"))
    assert finding.level is Level.OK
    assert finding.says == "wss://feed/ws-api in 84 ms over TLSv1.3, its name verified; pong after 31 ms"
    assert "TLS" not in judge_connection("ws://feed/ws-api", seen()).says


def test_a_feed_without_a_pong_or_that_closes_fails():
    quiet = judge_connection("ws://feed", seen(pong_ms=None))
    closed = judge_connection("ws://feed", seen(closed="the feed closed it"))
    assert (quiet.level, closed.level) == (Level.FAIL, Level.FAIL)
    assert "no pong came within 5.0 s" in quiet.says
    assert "then the feed closed it" in closed.says


def test_channels_that_were_heard_and_that_were_not_are_told_apart():
    heard, quiet = judge_channels([LIQUIDATIONS, TRADES], seen(frames={LIQUIDATIONS: 12}))
    assert (heard.level, heard.says) == (Level.OK, "heard in 5.0 s: liquidationOrders 12 frames")
    assert (quiet.level, quiet.says) == (Level.WARN, f"nothing in 5.0 s of {TRADES}")


def test_a_channel_is_heard_in_whichever_spelling_its_frames_come():
    (heard,) = judge_channels([LIQUIDATIONS], seen(frames={"liquidation_orders": 3}))
    assert heard.says == "heard in 5.0 s: liquidationOrders 3 frames"


def test_a_refused_subscription_fails_with_the_feeds_own_words():
    refused = '{"event":"error","success":false,"message":"upgrade your plan"}'
    notices = ['{"event":"subscribed","success":true}', refused]
    (finding,) = judge_channels([LIQUIDATIONS], seen(notices=notices))
    assert finding.level is Level.FAIL
    assert finding.says == f"the feed refused: {refused}"
    assert "plan" in finding.remedy


def test_messages_for_the_dead_letters_are_a_warning():
    _, finding = judge_channels(
        [LIQUIDATIONS], seen(frames={LIQUIDATIONS: 1}, unplaced=Counter({"unknown-channel": 2}))
    )
    assert (finding.level, finding.says) == (Level.WARN, "2 messages unknown-channel, for the dead letters")


def test_many_channels_are_named_in_part():
    names = [f"futures_trades@Binance_A{n}@1" for n in range(9)]
    (heard,) = judge_channels(names, seen(frames=dict.fromkeys(names, 1)))
    assert heard.says.count("futures_trades") == 3
    assert heard.says.endswith("and 6 more channels")


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('{"event":"error"}', True),
        ('{"success":false}', True),
        ('{"error":{"why":"plan"}}', True),
        ('{"code":"40001","msg":"plan"}', True),
        ('{"code":"0"}', False),
        ('{"code":200,"success":true}', False),
        ('{"event":"subscribed"}', False),
        ('{"code":null}', False),
        ("[1]", False),
        ("welcome", False),
        ("[" * 100_000, False),
    ],
)
def test_a_refusal_is_told_from_other_notices(text, refused):
    assert is_refusal(text) is refused


CLOCKS = {
    # our clock is this much ahead of the records', and of the server's
    "in step": (35, 0, Level.OK, "35 ms after"),
    "a little fast": (1_500, 1_400, Level.WARN, "1.5 s after"),
    "a little slow": (-1_500, -1_600, Level.WARN, "1.5 s before"),
    "slow by a minute": (-60_001, -60_000, Level.FAIL, "rejected as future-time"),
    "not yet a minute": (-60_000, -60_000, Level.WARN, "60.0 s before"),
    "fast by more than the mark delay": (10_001, 10_000, Level.FAIL, "windows close before"),
    "fast by the mark delay": (10_000, 10_000, Level.WARN, "10.0 s after"),
}


@pytest.mark.parametrize(("skew_ms", "date_ms", "level", "says"), CLOCKS.values(), ids=CLOCKS)
def test_clocks_that_are_apart_are_found(skew_ms, date_ms, level, says):
    finding = judge_clock(seen(skews_ms=[skew_ms] * 3, date_skew_ms=date_ms * 2), DELAY_MS)
    assert finding.level is level
    assert says in finding.says
    assert finding.remedy == ("" if level is Level.OK else finding.remedy)
    assert ("NTP" in finding.remedy) == (level is not Level.OK)


def test_one_late_record_does_not_move_the_median():
    assert judge_clock(seen(skews_ms=[40, 50, 3_600_000]), DELAY_MS).level is Level.OK


def test_a_feed_that_is_late_is_told_from_a_clock_that_is_fast():
    finding = judge_clock(seen(skews_ms=[30_000], date_skew_ms=100), DELAY_MS)
    assert finding.level is Level.FAIL
    assert "the feed's server has our time" in finding.says
    assert "--mark-delay" in finding.remedy


def test_without_records_the_date_of_the_feeds_answer_serves():
    assert judge_clock(seen(), DELAY_MS).level is Level.SKIP
    assert judge_clock(seen(date_skew_ms=-1_900), DELAY_MS).level is Level.OK
    assert judge_clock(seen(date_skew_ms=5_000), DELAY_MS).level is Level.WARN
    assert judge_clock(seen(date_skew_ms=-90_000), DELAY_MS).level is Level.FAIL
