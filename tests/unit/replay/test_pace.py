import pytest

from processors.engine.step import Result
from processors.replay.ordered import Replayed
from processors.replay.pace import Pace, parse_speed
from schemas.errors import UsageError


def at(*times_ms):
    return [Replayed((ms, "raw", 0), Result("t", b"k", b"v", ms)) for ms in times_ms]


def paced(speed, begin_ms, *steps):
    """Return (when it was given out, in s, how many) with a clock that only sleeping moves."""
    now = [100.0]

    def sleep(seconds):
        now[0] += seconds

    pace = Pace(speed, begin_ms, lambda: now[0], sleep)
    return [(round(now[0] - 100, 6), len(due)) for step in steps for due in pace.due(step)]


def test_results_come_in_the_distances_of_their_receive_times():
    assert paced(1, None, at(5_000, 5_000, 6_500), at(9_000)) == [(0, 2), (1.5, 1), (4, 1)]
    assert paced(60, 0, at(60_000), [], at(120_000)) == [(1, 1), (2, 1)]


def test_at_max_nothing_waits():
    assert paced(None, 0, at(60_000, 120_000), []) == [(0, 2)]


@pytest.mark.parametrize("text", ["", "60", "x", "0x", "-1x", "fast", "1e3x"])
def test_a_speed_is_max_or_a_number_of_times(text):
    with pytest.raises(UsageError):
        parse_speed(text)
    assert parse_speed("max") is None
    assert parse_speed("1.5x") == 1.5
