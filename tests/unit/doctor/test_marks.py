"""Marks as timelines: what doctor makes of the newest ones. Times in seconds; now is 100."""

import json

from coinglass_streams.doctor.findings import Level
from coinglass_streams.doctor.marks import CONNECTIONS_MAX, RawSeen, judge_marks

NOW_S = 100


def mark(kind, at_s, connection="a", heard_s=None, channels=("X",)):
    return json.dumps(
        {
            "kind": kind,
            "at_ms": int(at_s * 1_000),
            "heard_at_ms": int((at_s if heard_s is None else heard_s) * 1_000),
            "connection": connection,
            "channels": channels,
        }
    ).encode()


def judged(*marks, mark_every_ms=1_000, group=None):
    seen = RawSeen(NOW_S * 1_000)
    for value in marks:
        seen.take_mark(value, {"group": group} if group else {})
    return judge_marks(seen, mark_every_ms)


def levels(*marks, **more):
    return [finding.level for finding in judged(*marks, **more)]


def test_a_running_producer_is_seen_by_its_marks():
    (finding,) = judged(mark("up", 98, channels=("X", "Y")), mark("alive", 99.6, channels=("X", "Y")))
    assert finding.level is Level.OK
    assert finding.says == "a producer is running, for 2 channels; the newest is 400 ms old"


def test_no_marks_or_old_ones_say_that_no_producer_is_running():
    (none,), (old,) = judged(), judged(mark("alive", 89))
    assert (none.level, old.level) == (Level.WARN, Level.WARN)
    assert "11.0 s old: no producer is running" in old.says


def test_marks_that_come_seldom_are_waited_for():
    assert levels(mark("alive", 60), mark_every_ms=20_000) == [Level.OK]
    assert levels(mark("alive", 39), mark_every_ms=20_000) == [Level.WARN]


def test_a_producer_without_the_feed_is_a_warning():
    (finding,) = judged(mark("up", 90), mark("down", 99))
    assert finding.level is Level.WARN
    assert "the feed is down" in finding.says


def test_a_reconnected_producer_is_fine():
    assert levels(mark("up", 80), mark("down", 98), mark("up", 98.5, "b")) == [Level.OK]


def test_a_killed_producer_and_its_successor_are_not_two():
    assert levels(mark("alive", 95), mark("alive", 96), mark("up", 97, "b"), mark("alive", 99, "b")) == [Level.OK]


TWO = (mark("alive", 97), mark("alive", 98, "b"), mark("alive", 99), mark("alive", 99.5, "b"))


def test_two_producers_of_one_channel_count_everything_twice():
    (finding,) = judged(*TWO)
    assert finding.level is Level.FAIL
    assert finding.says == "two producers write X, and its records count twice"


def test_two_producers_of_one_redundant_group_are_meant_so():
    assert levels(*TWO, group=b"both") == [Level.OK]


def test_two_connections_of_different_channels_are_meant_so():
    both = (mark("alive", 97), mark("alive", 98, "b", channels=("Y",)), mark("alive", 99))
    assert levels(*both) == [Level.OK]


def test_a_connection_that_hears_nothing_is_a_warning():
    (finding,) = judged(mark("alive", 99, heard_s=69))
    assert finding.level is Level.WARN
    assert "heard nothing for 30.0 s" in finding.says


def test_marks_from_the_future_are_of_another_clock():
    (finding,) = judged(mark("alive", 130))
    assert finding.level is Level.WARN
    assert "30.0 s ahead of this machine's clock" in finding.says


def test_what_is_no_mark_is_passed_over_and_connections_have_a_bound():
    seen = RawSeen(NOW_S * 1_000)
    seen.take_mark(None, {})
    seen.take_mark(b"{}", {})
    assert not seen.connections
    for number in range(2 * CONNECTIONS_MAX):
        seen.take_mark(mark("alive", 99, str(number)), {})
    assert len(seen.connections) == CONNECTIONS_MAX
