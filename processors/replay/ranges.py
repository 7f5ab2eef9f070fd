"""The stretch of time that a replay covers: `[from, to)`, written as ISO 8601 UTC or as so long ago. Pure.

--from 2024-09-04T02:00:00Z --to 2024-09-04T03:00Z
--from -24h
"""

from dataclasses import dataclass
from typing import Literal

from schemas.errors import UsageError
from schemas.moments import iso

Clock = Literal["receive", "event"]


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
