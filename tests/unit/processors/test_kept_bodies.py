import pytest

from processors.views import kept_bodies
from processors.views.bodies import Body
from processors.views.kept_bodies import (
    BEHIND_SECONDS,
    BODIES_MAX,
    BYTES_MAX,
    KEPT_SECONDS_MAX,
    MAKING_SHARE_MAX,
    KeptBodies,
)

BODY = Body(b"{}", csv=False, tag="1")


class Clock:
    now = 1_000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(kept_bodies, "time", Clock())
    return kept_bodies.time


@pytest.mark.parametrize(
    ("spent_seconds", "behind", "kept_seconds"),
    [
        (0.3 * MAKING_SHARE_MAX, False, 0.3),
        (9.0, False, KEPT_SECONDS_MAX),
        (0.001 * MAKING_SHARE_MAX, True, BEHIND_SECONDS),
        (0.3 * MAKING_SHARE_MAX, True, 0.3),
    ],
)
def test_an_answer_is_given_again_for_a_while_that_grows_with_what_it_took(clock, spent_seconds, behind, kept_seconds):
    kept = KeptBodies()
    kept.keep("asked", BODY, clock.now, spent_seconds, behind)
    clock.now += kept_seconds - 0.001
    assert kept.recent("asked", behind) is BODY
    assert kept.recent("other", behind) is None
    clock.now += 0.002
    assert kept.recent("asked", behind) is None


def test_an_answer_that_would_be_the_same_lives_on(clock):
    kept = KeptBodies()
    kept.keep("asked", BODY, clock.now, 0.0, behind=True)
    clock.now += 60
    assert kept.unchanged("asked", "2", behind=True) is None
    assert kept.unchanged("other", "1", behind=True) is None
    assert kept.recent("asked", behind=True) is None
    assert kept.unchanged("asked", "1", behind=True) is BODY
    assert kept.recent("asked", behind=True) is BODY


def test_who_has_begun_to_follow_gets_none_that_was_begun_before(clock):
    kept = KeptBodies()
    begun_at = clock.now
    clock.now += 0.01
    kept.make_anew()
    kept.keep("asked", BODY, begun_at, 0.0, behind=True)  # was being made meanwhile
    assert kept.recent("asked", behind=True) is None
    clock.now += 0.01
    kept.keep("asked", BODY, clock.now, 0.0, behind=True)
    assert kept.recent("asked", behind=True) is BODY


def test_those_that_were_made_longest_ago_are_dropped(clock):
    kept = KeptBodies()
    for number in range(BODIES_MAX + 1):
        kept.keep(number, BODY, clock.now, 0.0, behind=True)
    assert kept.recent(0, behind=True) is None
    assert kept.recent(1, behind=True) is BODY


def test_no_more_bytes_are_kept_than_are_allowed(clock):
    kept, large = KeptBodies(), Body(bytes(BYTES_MAX // 2), csv=False, tag="1")
    for _ in range(3):
        kept.keep("again", large, clock.now, 0.0, behind=True)
    kept.keep("one more", large, clock.now, 0.0, behind=True)
    assert kept.recent("again", behind=True) is large
    kept.keep("too many", BODY, clock.now, 0.0, behind=True)
    assert kept.recent("again", behind=True) is None
    assert kept.recent("one more", behind=True) is large
    assert kept.recent("too many", behind=True) is BODY


def test_what_was_made_while_the_worker_was_behind_is_not_given_as_fresh(clock):
    kept = KeptBodies()
    kept.keep("asked", BODY, clock.now, 9.0, behind=True)
    assert kept.recent("asked", behind=False) is None
    assert kept.unchanged("asked", "1", behind=False) is BODY  # nothing has changed since, so it is fresh now
    assert kept.recent("asked", behind=False) is BODY
