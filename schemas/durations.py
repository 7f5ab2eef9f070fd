"""Durations as they are written on the command line: `500ms`, `5s`, `1m`, `2h`, `1d`. Pure."""

import re
from dataclasses import dataclass

from schemas.errors import UsageError

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,9})(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time and the text it was written as.

    The text matters: a window's topics are named after it as it was written, so `60s` and `1m` are two names for
    one length.
    """

    text: str
    ms: int


def parse_duration(text: str) -> Duration:
    """Read a duration such as `5s`.

    >>> parse_duration("5s").ms
    5000

    Raises UsageError for anything but a whole number and one of ms, s, m, h, d.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a duration: write a whole number and one of ms, s, m, h, d, such as 5s")
    return Duration(text, int(match[1]) * UNITS_MS[match[2]])
