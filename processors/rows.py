"""Table rows of one source partition: keys and values as they stand in the changelog, JSON both. Pure.

    [3,"watermark"]                                             [1725416340000,"windows=60000 grace=5000 …"]
    [3,"coverage"]                                              see processors.coverage
    [3,"counts"]                                                {"finals":12,"frames":4711,…}
    [3,"window","trade-imbalance",60000,1725416280000,"futures_trades@…"]   [final, coverage, totals]

The partition stands in every key, as one table holds the rows of all partitions that a worker owns.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

import msgspec

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class WindowKey(NamedTuple):
    """Which window a row is about; `key` is the asset or the channel."""

    aggregate: str
    size_ms: int
    start_ms: int
    key: str

    @property
    def end_ms(self) -> int:
        """The first ms after the window."""
        return self.start_ms + self.size_ms

    @property
    def closing_order(self) -> tuple[int, int, str, str]:
        """What windows that close together are sorted by; within a topic it is (window start, key)."""
        return self.end_ms, self.start_ms, self.aggregate, self.key


def watermark_key(partition: int) -> bytes:
    """Return the key of the row that holds watermark and settings."""
    return _encode([partition, "watermark"])


def coverage_key(partition: int) -> bytes:
    """Return the key of the row that holds the coverage."""
    return _encode([partition, "coverage"])


def counts_key(partition: int) -> bytes:
    """Return the key of the row that holds the counts."""
    return _encode([partition, "counts"])


def window_key(partition: int, window: WindowKey) -> bytes:
    """Return the key of a window's row."""
    return _encode([partition, "window", *window])


def window_key_end(key: str) -> bytes:
    """Return what the keys of an asset's, or a channel's, rows end with; it may also be the end of another's."""
    return _encode(key) + b"]"


def parse_window_key(row_key: bytes) -> WindowKey | None:
    """Return which window a row is about, None for a row of another kind."""
    parts = _decode(row_key)
    return WindowKey(*parts[2:]) if parts[1] == "window" else None


def encode_counts(counts: Mapping[str, int]) -> bytes:
    """Return the counts as a row, the same bytes for the same counts."""
    return msgspec.json.encode(counts, order="sorted")


def decode_counts(row: bytes) -> dict[str, int]:
    """Read the row of counts."""
    return msgspec.json.decode(row, type=dict[str, int])


def encode_window(final: bool, coverage: float | None, totals: Any) -> bytes:
    """Return a window's row; `coverage` is None while the window is open, `totals` a dataclass."""
    return _encode((final, coverage, _values_of(totals.__class__)(totals)))


def decode_window(row: bytes, totals: Callable[..., Any]) -> tuple[bool, float | None, Any]:
    """Read a window's row, its totals as the given dataclass."""
    final, coverage, values = _decode(row, type=_row_type(totals))
    return final, coverage, totals(*values)


@cache
def _values_of(totals: Any) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(totals)))


@cache
def _row_type(totals: Any) -> Any:
    hints = get_type_hints(totals)
    return tuple[bool, float | None, tuple[tuple(hints[field.name] for field in fields(totals))]]  # type: ignore[misc]
