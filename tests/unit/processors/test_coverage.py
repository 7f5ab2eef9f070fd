"""Coverage as timelines: one column is 10 ms; = is heard."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.coverage import Coverage, Gap, covered_ms, decode_coverage, encode_coverage


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


def gaps(*marks, to=10_000, whys=None):
    """Return the gaps that the marks tell: [(from, to, channels, why)]."""
    covered, whys = Coverage(), whys or {}
    for one in marks:
        covered.add(one, "", *([whys[one.kind]] if one.kind in whys else []))
    return [tuple(gap) for gap in covered.gaps(to)]


SILENT = "the producer said no more"


def test_a_gap_is_told_from_what_was_heard_last_to_the_next_subscription():
    marks = [m("up", 100), m("alive", 200, 190), m("down", 260, 250), m("up", 900, connection="b")]
    assert gaps(*marks, whys={"down": "no pong came"}) == [(250, 900, ("X",), "no pong came")]


def test_a_killed_producer_leaves_a_gap_that_its_successor_shows():
    assert gaps(m("up", 100), m("alive", 200), m("up", 900, connection="b")) == [(200, 900, ("X",), SILENT)]


def test_before_a_channel_was_ever_heard_there_is_no_gap():
    assert gaps(m("up", 100), m("alive", 500, channels=XY), m("alive", 900, channels=XY)) == []


def test_a_channel_that_was_not_subscribed_for_a_while_has_a_gap_and_others_have_none():
    marks = [
        m("up", 100, channels=XY),
        m("alive", 200, channels=XY),
        m("alive", 300, channels=Y),
        m("alive", 700, channels=XY),
    ]
    assert gaps(*marks) == [(200, 700, ("X",), "the channel was no longer subscribed")]


def test_connections_of_several_producers_have_gaps_only_together():
    a = [m("up", 100), m("alive", 200), m("down", 300)]
    b = [m("up", 150, connection="b"), m("alive", 1_150, connection="b")]
    assert gaps(*a, *b, m("up", 600)) == []
    assert gaps(*a, *b, m("up", 1_600)) == [(1_150, 1_600, ("X",), SILENT)]


def test_a_gap_is_told_once_and_not_before_marks_of_its_end_can_have_come():
    covered = coverage(m("up", 100), m("down", 200), m("up", 900, connection="b"))
    assert covered.gaps(899) == []
    assert covered.gaps(900) == [Gap(200, 900, ("X",), SILENT)]
    assert covered.gaps(5_000) == []


def test_a_gap_of_weeks_is_told_though_all_windows_of_its_beginning_are_closed():
    covered = coverage(m("up", 100, channels=XY), m("down", 200, channels=XY))
    weeks_ms = 12 * 86_400_000
    for at_ms in (1_000, 86_400_000, weeks_ms):
        assert covered.gaps(at_ms) == []
        covered.forget(at_ms)
        covered = decode_coverage(encode_coverage(covered))
    covered.add(m("up", weeks_ms + 5))
    assert [gap[:3] for gap in covered.gaps(weeks_ms + 5)] == [(200, weeks_ms + 5, ("X",))]


@st.composite
def lives(draw):
    """Marks of connections that come and go, in the order of their times; each is honest about what it heard."""
    marks = []
    for name in ("a", "b", "c"):
        at, heard = draw(st.integers(0, 40)), 0
        for _ in range(draw(st.integers(0, 4))):  # connections, one after the other
            connection, channels = f"{name}{at}", draw(st.sampled_from((("X",), XY, Y)))
            marks.append(m("up", at, connection=connection, channels=channels))
            heard = at
            for _ in range(draw(st.integers(0, 4))):
                at += draw(st.integers(1, 9))
                heard = draw(st.integers(max(heard, at - 9), at))
                channels = draw(st.sampled_from((channels, channels, ("X",), XY, Y)))
                marks.append(m("alive", at, heard, connection, channels))
            if draw(st.booleans()):
                marks.append(m("down", at, heard, connection, channels))
            at += draw(st.integers(1, 30))
    return sorted(marks, key=lambda mark: mark.at_ms)


@given(lives(), st.integers(0, 200))
def test_gaps_are_where_no_connection_covers_what_was_covered_before(marks, forgotten_ms):
    covered, told = Coverage(), []
    for one in marks:
        covered.add(one)
        told += covered.gaps(one.at_ms - 20)  # a mark is at most 9 ms after the one before, and heard at most 9 ms ago
        covered.forget(min(forgotten_ms, one.at_ms - 100))
    told += covered.gaps(10_000)
    everything = coverage(*marks)
    for channel in XY:
        heard = [ms for ms in range(400) if everything.share(channel, ms, ms + 1) == 1]
        missing = {ms for ms in range(heard[0], heard[-1]) if ms not in heard} if heard else set()
        within = {ms for gap in told if channel in gap.channels for ms in range(gap.from_ms, gap.to_ms)}
        assert missing <= within
        assert not within & set(heard)
