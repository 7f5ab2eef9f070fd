"""Coverage as timelines: one column is 10 ms; = is heard."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.coverage import Coverage, covered_ms, decode_coverage, encode_coverage


def m(kind, at, heard=None, connection="a", channels=("X",)):
    return SimpleNamespace(
        kind=kind, at_ms=at, heard_at_ms=at if heard is None else heard, connection=connection, channels=channels
    )


def coverage(*marks):
    result = Coverage()
    for one in marks:
        result.add(one)
    return result


Y, XY = ("Y",), ("X", "Y")

CASES = {
    # 0         50        100
    # |=========|=========|       up at 0, heard to the end
    "whole": ([m("up", 0), m("alive", 110, 105)], 1.0),
    # |===================        up at 0, heard until 95 only: at_ms is not evidence
    "half-open": ([m("up", 0), m("alive", 110, 95), m("down", 200, 95)], 0.95),
    # |====      =========|       a gap between two connections
    "reconnect": ([m("up", 0), m("down", 60, 40), m("up", 70, connection="b"), m("alive", 120, connection="b")], 0.7),
    # |====  (killed, no down)    the successor's first mark shows the gap
    "killed": ([m("up", 0), m("alive", 30), m("up", 80, connection="b"), m("alive", 120, connection="b")], 0.5),
    # |=========                  two connections at once count once
    "twice": ([m("up", 0), m("up", 0, connection="b"), m("alive", 50), m("alive", 50, connection="b")], 0.5),
    # |====|up again on the same connection, from 60: what lay between is missing
    "up again": ([m("up", 0), m("alive", 20), m("up", 60), m("alive", 100)], 0.6),
    # heard going backwards takes nothing away
    "backwards": ([m("up", 0), m("alive", 60, 60), m("alive", 70, 30)], 0.6),
    # subscribed to X from 50 on, by the mark that first names it
    "subscribed later": ([m("up", 0, channels=Y), m("alive", 50, channels=XY), m("alive", 100, channels=XY)], 0.5),
    # unsubscribed at some moment after 40: covered up to what was heard before
    "unsubscribed": ([m("up", 0, channels=XY), m("alive", 40, channels=XY), m("alive", 100, channels=Y)], 0.4),
    "another channel": ([m("up", 0, channels=("Y",)), m("alive", 100, channels=("Y",))], 0.0),
    "down first": ([m("down", 50)], 0.0),
}  # fmt: skip


@pytest.mark.parametrize(("marks", "share"), CASES.values(), ids=CASES)
def test_coverage_of_the_window_from_0_to_100(marks, share):
    assert coverage(*marks).share("X", 0, 100) == pytest.approx(share)


def test_without_marks_nothing_is_known():
    assert Coverage().share("X", 0, 100) is None


marks = st.lists(
    st.builds(
        m,
        st.sampled_from(["up", "alive", "down"]),
        st.integers(1, 200),
        st.integers(1, 200),
        st.sampled_from(["a", "b"]),
        st.sets(st.sampled_from("XYZ")),
    ),
    max_size=12,
)


@given(marks, st.integers(0, 12))
def test_a_coverage_that_was_stored_goes_on_as_if_it_had_not(made, cut):
    straight = coverage(*made)
    stored = decode_coverage(encode_coverage(coverage(*made[:cut])))
    for one in made[cut:]:
        stored.add(one)
    for channel in "XYZ":
        assert stored.share(channel, 20, 180) == straight.share(channel, 20, 180)
    share = straight.share("X", 20, 180)
    assert share is None or 0.0 <= share <= 1.0


@given(marks)
def test_what_is_forgotten_makes_no_difference_to_later_windows(made):
    whole, trimmed = coverage(*made), coverage(*made)
    trimmed.forget(100)
    assert trimmed.share("X", 100, 200) == whole.share("X", 100, 200)
    assert len(trimmed.spans) <= len(whole.spans)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 30))))
def test_the_length_of_a_union_is_the_number_of_its_points(made):
    intervals = sorted((start, start + length) for start, length in made)
    assert covered_ms(intervals) == len({p for start, end in intervals for p in range(start, end)})
