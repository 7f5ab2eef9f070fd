"""Liquidated volume per asset and window: how records add up, and the final they become. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from processors.frames import FrameRecord
from processors.money import MICROS_PER_USD


@dataclass(slots=True)
class LiquidationTotals:
    """One asset's liquidations in one window; money in integer micro-USD, so that sums are exact.

    Side 1 means that a long was liquidated, side 2 a short.
    """

    long_micros: int = 0
    short_micros: int = 0
    largest_micros: int = 0
    long_count: int = 0
    short_count: int = 0

    @classmethod
    def of(cls, record: FrameRecord) -> Self:
        """Return empty totals for a window that begins with `record`."""
        del record
        return cls()

    def add(self, record: FrameRecord, micros: int) -> None:
        """Count one record of `micros` micro-USD."""
        if record.side == 1:
            self.long_micros += micros
            self.long_count += 1
        else:
            self.short_micros += micros
            self.short_count += 1
        if micros > self.largest_micros:
            self.largest_micros = micros

    def values(self) -> Mapping[str, Any]:
        """Return the fields of `liquidation_volume.avsc` that the totals decide."""
        return {
            "long_usd": self.long_micros / MICROS_PER_USD,
            "short_usd": self.short_micros / MICROS_PER_USD,
            "total_usd": (self.long_micros + self.short_micros) / MICROS_PER_USD,
            "largest_usd": self.largest_micros / MICROS_PER_USD,
            "long_count": self.long_count,
            "short_count": self.short_count,
        }
