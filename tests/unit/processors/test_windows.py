import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.windows import WindowSize, window_sizes
from schemas.durations import Duration, parse_duration
from schemas.errors import UsageError


@given(st.integers(1, 10**13), st.integers(1, 7 * 86_400_000))
def test_every_time_is_in_exactly_one_window_and_windows_begin_at_multiples_of_their_size(time_ms, size_ms):
    start = WindowSize("w", size_ms).start_of(time_ms)
    assert start <= time_ms < start + size_ms
    assert start % size_ms == 0


@pytest.mark.parametrize(
    ("texts", "says"),
    [([], "at least one"), (["0s"], "at least 1ms"), (["8d"], "at most 7d"), (["1m", "5m", "60s"], "same window")],
)
def test_windows_that_make_no_sense_are_refused(texts, says):
    with pytest.raises(UsageError, match=says):
        window_sizes(tuple(parse_duration(text) for text in texts))


def test_a_window_keeps_the_name_it_was_written_with():
    assert [w.name for w in window_sizes((Duration("60s", 60_000), Duration("5m", 300_000)))] == ["60s", "5m"]
