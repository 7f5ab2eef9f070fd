"""The stretch of time that a replay covers: `[from, to)`, written as ISO 8601 UTC or as so long ago. Pure.

    --from 2024-09-04T02:00:00Z --to 2024-09-04T03:00Z
    --from -24h

A time without a zone is UTC; one with another zone is taken at its word.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from schemas.durations import parse_duration
from schemas.errors import UsageError

Clock = Literal["receive", "event"]

#: Times that Kafka and Arrow both hold; far outside of any feed.
MOMENT_MS_MAX = 253_402_300_799_999  # the end of year 9999


@dataclass(frozen=True, slots=True)
class Range:
    """`[from_ms, to_ms)`, UTC ms, by receive time or by event time; None where that side is open."""

    from_ms: int | None = None
    to_ms: int | None = None
    clock: Clock = "receive"

    def __post_init__(self) -> None:
        """Refuse a range that holds no moment; raises UsageError."""
        if self.from_ms is not None and self.to_ms is not None and self.from_ms >= self.to_ms:
            raise UsageError(
                f"--from {iso(self.from_ms)} is not before --to {iso(self.to_ms)}: the range holds no moment"
            )

    def holds(self, at_ms: int) -> bool:
        """Whether a moment lies in the range."""
        return (self.from_ms is None or at_ms >= self.from_ms) and (self.to_ms is None or at_ms < self.to_ms)

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Whether any of `[start_ms, end_ms)` lies in the range."""
        return (self.from_ms is None or end_ms > self.from_ms) and (self.to_ms is None or start_ms < self.to_ms)

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether all of `[start_ms, end_ms)` lies in the range."""
        return (self.from_ms is None or start_ms >= self.from_ms) and (self.to_ms is None or end_ms <= self.to_ms)


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


_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
