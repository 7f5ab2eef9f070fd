import pytest

from schemas.durations import parse_duration
from schemas.errors import UsageError


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("5s", 5_000), ("1m", 60_000), ("2h", 7_200_000), ("1d", 86_400_000), ("0s", 0)]
)
def test_a_duration_is_a_whole_number_and_a_unit(text, ms):
    assert parse_duration(text).ms == ms
    assert parse_duration(text).text == text


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", "-5s", "+5s", "1.5s", "5S", "05s", "5s ", "\N{FULLWIDTH DIGIT FIVE}s", "1w", "99999999999s"],
)
def test_anything_else_is_refused_with_what_to_write(text):
    with pytest.raises(UsageError, match="such as 5s"):
        parse_duration(text)
