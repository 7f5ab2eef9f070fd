from processors.engine.freshness import Freshness


def test_rows_that_hold_all_that_stood_there_are_as_of_when_it_was_looked_at():
    fresh = Freshness()
    fresh.reached(10)
    fresh.ends_at(10, at_ms=1_000)
    assert (fresh.as_of_ms, fresh.lag) == (1_000, 0)


def test_rows_are_as_of_the_last_look_whose_end_they_reached():
    fresh = Freshness()
    fresh.reached(10)
    fresh.ends_at(10, at_ms=1_000)
    fresh.ends_at(12, at_ms=2_000)
    fresh.reached(11)
    assert (fresh.as_of_ms, fresh.lag) == (1_000, 1)
    fresh.ends_at(20, at_ms=3_000)  # not waited for before the one at 2,000 is settled
    fresh.reached(12)
    assert (fresh.as_of_ms, fresh.lag) == (2_000, 8)
    fresh.reached(20)
    assert fresh.as_of_ms == 2_000
    fresh.ends_at(20, at_ms=4_000)
    assert fresh.as_of_ms == 4_000


def test_a_log_that_nobody_writes_to_stays_fresh_whoever_owns_it():
    fresh = Freshness()
    fresh.reached(10)
    for at_ms in (1_000, 2_000, 60_000):
        fresh.ends_at(10, at_ms)
    assert fresh.as_of_ms == 60_000


def test_rows_that_never_caught_up_are_as_of_nothing():
    fresh = Freshness()
    assert (fresh.as_of_ms, fresh.lag) == (None, None)
    fresh.ends_at(10, at_ms=1_000)
    assert (fresh.as_of_ms, fresh.lag) == (None, None)
    fresh.reached(9)
    assert (fresh.as_of_ms, fresh.lag) == (None, 1)
