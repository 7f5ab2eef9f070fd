import pytest

from processors.views.event_pace import (
    BREATH_SECONDS,
    CREDIT_SECONDS_MAX,
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    SENDING_SHARE_MAX,
    Pace,
)


def spent(pace, spends_seconds, seconds, more):
    """Send for so long; return the share of time that went into it, and the longest pause."""
    now, sending, longest = 0.0, 0.0, 0.0
    while now < seconds:
        pause = pace.pause_seconds(now, now + spends_seconds, more)
        sending, longest = sending + spends_seconds, max(longest, pause)
        now += spends_seconds + pause
    return sending / now, longest


@pytest.mark.parametrize("spends_seconds", [0.001, 0.006, 0.009])
def test_what_changes_in_one_event_leaves_within_its_share_and_in_time(spends_seconds):
    share, longest = spent(Pace(), spends_seconds, 60, more=False)
    assert share <= SENDING_SHARE_MAX
    assert PAUSE_SECONDS_MIN <= longest <= PAUSE_SECONDS_MAX


def test_a_burst_that_fills_several_events_is_sent_at_once():
    pace, now = Pace(), 100.0
    for _ in range(5):
        pause = pace.pause_seconds(now, now + 0.02, more=True)
        assert pause == BREATH_SECONDS
        now += 0.02 + pause
    assert pace.pause_seconds(now, now + 0.002, more=False) == PAUSE_SECONDS_MIN


def test_a_backlog_that_fills_events_all_the_time_spends_its_credit_once():
    share, _ = spent(Pace(), 0.009, 60, more=True)
    assert share <= SENDING_SHARE_MAX + CREDIT_SECONDS_MAX / 60 + 0.002


def test_the_credit_comes_back_with_time():
    pace = Pace()
    spent(pace, 0.02, 60, more=True)
    assert pace.pause_seconds(60.0, 60.02, more=True) > BREATH_SECONDS
    assert pace.pause_seconds(80.0, 80.02, more=True) == BREATH_SECONDS
