import pytest

from processors.replay.ranges import Range
from schemas.errors import UsageError
from schemas.moments import iso, parse_moment

NOW_MS = 1_725_416_318_379


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-09-04T02:18:38.379Z", NOW_MS),
        ("2024-09-04T02:18:38.379", NOW_MS),
        ("2024-09-04T04:18:38.379+02:00", NOW_MS),
        ("2024-09-04", 1_725_408_000_000),
        ("-24h", NOW_MS - 86_400_000),
        ("-0s", NOW_MS),
    ],
)
def test_a_moment_is_iso_8601_or_so_long_ago(text, expected):
    assert parse_moment(text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "now", "24h", "-", "-1y", "1969-12-31", "2024-13-01", "1725416318379000000"])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError):
        parse_moment(text, NOW_MS)


def test_what_is_written_can_be_read_again():
    assert parse_moment(iso(NOW_MS), 0) == NOW_MS


def test_a_range_has_its_first_moment_and_not_its_last():
    span = Range(10, 20)
    assert [ms for ms in range(8, 22) if span.holds(ms)] == list(range(10, 20))
    assert span.covers(10, 20)
    assert not span.covers(9, 20)
    assert span.overlaps(19, 30)
    assert not span.overlaps(20, 30)
    assert Range().holds(-(2**60))


@pytest.mark.parametrize("bounds", [(5, 5), (6, 5)])
def test_a_range_without_a_moment_is_refused(bounds):
    with pytest.raises(UsageError, match="holds no moment"):
        Range(*bounds)
