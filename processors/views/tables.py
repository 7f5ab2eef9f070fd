"""The tables' rows as people and their systems read them: open windows first, then closed ones. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from processors.aggregates import AGGREGATES, Aggregate
from processors.rows import WindowKey, decode_window, parse_window_key, window_key_end
from processors.windows import WindowSize

Rows = Iterable[tuple[bytes, bytes]]


def windows_of(rows: Rows, aggregate: Aggregate, key: str) -> Mapping[WindowKey, bytes]:
    """Return the rows of one asset or channel; without parsing the keys of all others."""
    end = window_key_end(key)
    return windows_by_key((row for row in rows if row[0].endswith(end)), aggregate).get(key, {})


def windows_by_key(rows: Rows, aggregate: Aggregate) -> Mapping[str, Mapping[WindowKey, bytes]]:
    """Return the rows of one aggregate by asset or channel."""
    found: defaultdict[str, dict[WindowKey, bytes]] = defaultdict(dict)
    for row_key, row in rows:
        window = parse_window_key(row_key)
        if window is not None and window.aggregate == aggregate.name:
            found[window.key][window] = row
    return found


def newest(windows: Mapping[WindowKey, bytes], sizes: Iterable[WindowSize], limit: int) -> list[dict[str, Any]]:
    """Return at most `limit` windows of each size, open ones first, newest first.

    Each is the final's value as its `.avsc` has it (bounds in UTC ms, coverage null while open), with `window`, the
    size as it was asked for, and `final`.
    """
    shown = []
    for size in sizes:
        decoded = [
            (key, *decode_window(row, AGGREGATES[key.aggregate].totals))
            for key, row in windows.items()
            if key.size_ms == size.ms
        ]
        decoded.sort(key=lambda window: (window[1], -window[0].start_ms))
        for key, final, coverage, totals in decoded[:limit]:
            value = AGGREGATES[key.aggregate].value(key, totals, coverage)
            shown.append({**value, "window": size.name, "final": final})
    return in_order(shown)


def in_order(windows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return windows of any keys and sizes with the open ones first, then the newest first."""
    return sorted(windows, key=lambda window: (window["final"], -window["window_start"], -window["window_end"]))
