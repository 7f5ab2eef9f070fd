"""Moments as they are written: ISO 8601, or so long ago. Pure.

A time without a zone is UTC; one with another zone is taken at its word.
"""

import datetime as dt

from schemas.durations import parse_duration
from schemas.errors import UsageError

#: Times that Kafka and Arrow both hold; far outside of any feed.
MOMENT_MS_MAX = 253_402_300_799_999  # the end of year 9999

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def is_relative(text: str) -> bool:
    """Whether a moment is written as so long ago, such as `-24h`."""
    return text.startswith("-")


def parse_moment(text: str, now_ms: int) -> int:
    """Read a moment, UTC ms.

    >>> parse_moment("2024-09-04T02:18:38.379Z", now_ms=0)
    1725416318379
    >>> parse_moment("-1h", now_ms=3_600_000)
    0

    Raises UsageError for what is neither, or before 1970.
    """
    if is_relative(text):
        at_ms = now_ms - parse_duration(text[1:]).ms
    else:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(
                f"{text!r} is not a time: write ISO 8601 in UTC, such as 2024-09-04T02:00:00Z, or -24h"
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        at_ms = (moment - _EPOCH) // dt.timedelta(milliseconds=1)
    if not 0 <= at_ms <= MOMENT_MS_MAX:
        raise UsageError(f"{text!r} lies before 1970 or after 9999: write a time that a feed can have")
    return at_ms


def iso(at_ms: int) -> str:
    """Return a moment as ISO 8601 UTC.

    >>> iso(1725416318379)
    '2024-09-04T02:18:38.379Z'
    """
    return (_EPOCH + dt.timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
