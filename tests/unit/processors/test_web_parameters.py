import pytest

from processors.views.parameters import Query, Range, parse_query, parse_range, wants_csv
from processors.views.problems import BadRequestError
from processors.windows import window_sizes
from schemas.durations import parse_duration
from schemas.moments import MOMENT_MS_MAX
from tests.unit.processors.records import NOW_MS

SIZES = window_sizes((parse_duration("1m"), parse_duration("5m")))


def query(*items):
    return parse_query(items, SIZES, NOW_MS)


def test_without_parameters_the_newest_of_every_length_are_asked_for():
    assert query() == Query(SIZES, windows=10)
    assert query().sizes_ms == (60_000, 300_000)


def test_one_length_and_a_count_can_be_asked_for():
    assert query(("window", "5m"), ("windows", "10000")) == Query(SIZES[1:], windows=10_000, counted=True)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1725416400000", 1_725_416_400_000),
        ("2024-09-04T02:20:00Z", 1_725_416_400_000),
        ("2024-09-04", 1_725_408_000_000),
        ("-1h", NOW_MS - 3_600_000),
        ("0", 0),
    ],
)
def test_a_moment_is_milliseconds_iso_8601_or_so_long_ago(text, at_ms):
    assert query(("from", text)).range == Range(at_ms, MOMENT_MS_MAX)


def test_a_range_is_half_open():
    within = parse_range([("from", "5"), ("to", "7")], NOW_MS)
    assert [at_ms for at_ms in range(10) if within.holds(at_ms)] == [5, 6]


def test_gaps_are_asked_for_without_a_range_too():
    assert parse_range([], NOW_MS) == Range(0, MOMENT_MS_MAX)


@pytest.mark.parametrize(
    "items",
    [
        [("windows", "0")], [("windows", "-1")], [("windows", "+1")], [("windows", "1.0")], [("windows", "\u0661")],
        [("windows", "9" * 4_400)], [("window", "")], [("window", "7m")], [("Windows", "1")], [("windows", "1")] * 2,
        [("from", "7"), ("to", "7")], [("to", "0")], [("from", str(MOMENT_MS_MAX + 1))], [("from", "1e5")],
        [("from", "2024-02-30")], [("from", "-1y")], [("from", "1"), ("windows", "1")],
    ],
)  # fmt: skip
def test_anything_else_is_refused(items):
    with pytest.raises(BadRequestError):
        query(*items)


@pytest.mark.parametrize(
    ("accept", "csv"),
    [
        ("", False), ("*/*", False), ("text/csv", True), ("TEXT/CSV", True), ("application/json", False),
        ("text/csv, application/json", False), ("text/csv, application/json;q=0.9", True), ("text/csv;q=0", False),
        ("text/csv;q=x", False), ("text/*", False), (",;=,text/csv;;q", True), ("text/csv;charset=utf-8;q=0.5", True),
    ],
)  # fmt: skip
def test_csv_is_for_those_who_prefer_it(accept, csv):
    assert wants_csv(accept) is csv
