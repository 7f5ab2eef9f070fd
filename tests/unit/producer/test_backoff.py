"""Pauses between attempts."""

from hypothesis import given
from hypothesis import strategies as st

from producer.backoff import Backoff

FRACTIONS = st.floats(0, 1)


@given(st.lists(st.tuples(FRACTIONS, st.integers(0, 20_000)), max_size=40))
def test_pauses_stay_within_their_bounds(attempts: list[tuple[float, int]]):
    backoff = Backoff(500, 30_000, 10_000)
    for fraction, lasted_ms in attempts:
        assert 0 <= backoff.pause_ms(fraction, lasted_ms) <= 30_000 * fraction


@given(st.integers(0, 60))
def test_the_longest_pause_doubles_up_to_the_bound(failures: int):
    backoff = Backoff(500, 30_000, 10_000)
    pauses = [backoff.pause_ms(1.0) for _ in range(failures + 1)]
    assert pauses[-1] == min(500 * 2**failures, 30_000)


def test_a_connection_that_did_not_last_does_not_shorten_the_pause():
    backoff = Backoff(500, 30_000, 10_000)
    assert [backoff.pause_ms(1.0, lasted_ms) for lasted_ms in (0, 9_999, 9_999, 10_000, 0)] == [
        500, 1_000, 2_000, 500, 1_000,
    ]  # fmt: skip


def test_jitter_is_full():
    backoff = Backoff(500, 30_000, 10_000)
    assert [backoff.pause_ms(fraction) for fraction in (0.0, 0.5, 0.25)] == [0, 500, 500]
