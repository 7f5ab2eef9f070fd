"""The rows of the whole group as they stand, by asset or channel, and as people and their systems read them. Pure.

Rows come in from wherever they were committed; what goes out is encoded once for all who ask.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from processors.aggregates import AGGREGATES, Aggregate
from processors.pipeline import CLOSED_ROWS_KEPT
from processors.rows import WindowKey, decode_window, parse_window_key
from processors.windows import WindowSize
from schemas.channels import TRADES_PREFIX, TradeChannel, parse_channel

_order = attrgetter("order")

#: (raw topic, partition), as Kafka clients name one.
Partition = tuple[str, int]
Row = bytes


class Cell:
    """One window of one partition."""

    __slots__ = ("_encoded", "line", "order", "row", "window")

    def __init__(self, line: "Line", window: WindowKey, row: Row) -> None:
        self.line, self.window = line, window
        self.put(row)

    @property
    def gone(self) -> bool:
        """Whether the row was deleted."""
        return not self.row

    def put(self, row: Row) -> None:
        """Take the row as it is now; `order` is what answers are sorted by: open windows first, then the newest."""
        self.row = row
        self.order = row.startswith(b"[true"), -self.window.start_ms, -self.window.size_ms
        self._encoded: bytes | None = None

    def encoded(self, size_name: str) -> msgspec.Raw:
        """Return the window as JSON: see `window_object`."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(window_object(self.window, self.row, size_name))
        return msgspec.Raw(self._encoded)


class Line:
    """All windows of one asset or channel, in whichever partitions they stand."""

    __slots__ = ("_by_size", "aggregate", "key", "version")

    def __init__(self, aggregate: str, key: str) -> None:
        self.aggregate, self.key, self.version = aggregate, key, 0
        self._by_size: dict[int, dict[tuple[Partition, bytes], Cell]] = {}

    def add(self, partition: Partition, key: bytes, cell: "Cell") -> None:
        """Take in a window that a partition's row is about."""
        self._by_size.setdefault(cell.window.size_ms, {})[partition, key] = cell

    def drop(self, partition: Partition, key: bytes, cell: "Cell") -> bool:
        """Leave a window out again; return whether it was the last."""
        of_size = self._by_size[cell.window.size_ms]
        del of_size[partition, key]
        if not of_size:
            del self._by_size[cell.window.size_ms]
        return not self._by_size

    def cells(self, size_ms: int) -> Collection[Cell]:
        """Return the windows of one length."""
        return self._by_size.get(size_ms, {}).values()

    @property
    def newest_end_ms(self) -> int:
        """Where the newest window ends."""
        return max(cell.window.end_ms for of_size in self._by_size.values() for cell in of_size.values())

    @property
    def partitions(self) -> set[Partition]:
        """Where the windows stand."""
        return {partition for of_size in self._by_size.values() for partition, _ in of_size}


class Board:
    """All rows that are known; `versions` has each aggregate's, which grows with every change of a window of it."""

    def __init__(self, sizes: Iterable[WindowSize]) -> None:
        self.versions = dict.fromkeys(AGGREGATES, 0)
        self._noting = False
        self.sizes = {size.ms: size.name for size in sizes}
        self._cells: dict[Partition, dict[bytes, Cell]] = {}
        self._counts: Counter[tuple[Partition, int]] = Counter()  # of a partition's windows of one length
        self._facts: dict[Partition, dict[bytes, Row]] = {}
        self._lines: dict[str, dict[str, Line]] = {name: {} for name in AGGREGATES}
        self._markets: dict[str, dict[str, Line]] = {}
        self._changed: dict[Cell, None] = {}

    # -- rows in -------------------------------------------------------------------------------------------------

    def replace(self, partition: Partition, rows: Mapping[bytes, Row]) -> None:
        """Take all rows of a partition."""
        cells = self._cells.setdefault(partition, {})
        self._facts[partition] = {}
        self.apply(partition, dict.fromkeys(cells.keys() - rows.keys()))
        self.apply(partition, {key: row for key, row in rows.items() if key not in cells or cells[key].row != row})

    def apply(self, partition: Partition, rows: Mapping[bytes, Row | None]) -> None:
        """Take rows of a partition that have changed; None deletes one."""
        cells, facts = self._cells[partition], self._facts[partition]
        for key, row in rows.items():
            if key in facts and row is not None:
                facts[key] = row
                continue
            cell = cells.get(key)
            if cell is None:
                cell = self._new_cell(partition, key, row)
                if cell is None:
                    continue
            elif row is None:
                cell.put(b"")
                del cells[key]
                self._counts[partition, cell.window.size_ms] -= 1
                if cell.line.drop(partition, key, cell):
                    self._end(cell.line)
            else:
                cell.put(row)
            self._change(cell.line)
            if self._noting:
                self._changed[cell] = None

    def forget(self) -> None:
        """Drop everything."""
        self._cells.clear()
        self._counts.clear()
        self._facts.clear()
        self._changed.clear()
        self._markets.clear()
        for lines in self._lines.values():
            lines.clear()

    def _new_cell(self, partition: Partition, key: bytes, row: Row | None) -> Cell | None:
        """Enter the row of a window that was not known; keep a row that is about the partition, ignore others."""
        window = parse_window_key(key)
        if window is None or row is None:
            if row is not None and key.count(b",") == 1:  # [3,"watermark"], and others of two parts
                self._facts[partition][key] = row
            return None
        line = self._lines[window.aggregate].get(window.key) or self._begin(window)
        cell = self._cells[partition][key] = Cell(line, window, row)
        line.add(partition, key, cell)
        self._counts[partition, window.size_ms] += 1
        return cell

    def _change(self, line: Line) -> None:
        line.version = self.versions[line.aggregate] = self.versions[line.aggregate] + 1

    def _begin(self, window: WindowKey) -> Line:
        line = self._lines[window.aggregate][window.key] = Line(window.aggregate, window.key)
        self._markets.setdefault(_market_of(line), {})[line.key] = line
        return line

    def _end(self, line: Line) -> None:
        del self._lines[line.aggregate][line.key]
        market = self._markets[_market_of(line)]
        del market[line.key]
        if not market:
            del self._markets[_market_of(line)]

    # -- what is known -------------------------------------------------------------------------------------------

    def partitions(self) -> Iterable[Partition]:
        """Return the partitions whose rows are known."""
        return self._cells.keys()

    def fact(self, partition: Partition, key: bytes) -> Row | None:
        """Return a row that is about a partition; None where there is none, or the partition is not known."""
        return self._facts.get(partition, {}).get(key)

    def line(self, aggregate: Aggregate, key: str) -> Line | None:
        """Return one asset's or channel's windows."""
        return self._lines[aggregate.name].get(key)

    def market(self, exchange: str, symbol: str) -> list[Line]:
        """Return the windows of all channels of one market."""
        lines = self._markets.get(f"{TRADES_PREFIX}{exchange}_{symbol}", {}).values()
        return [line for line in lines if is_of_market(line.key, exchange, symbol)]

    def lines(self, aggregate: Aggregate) -> list[Line]:
        """Return all assets' or channels' windows."""
        return list(self._lines[aggregate.name].values())

    def lacks(self, line: Line, size_ms: int, limit: int) -> bool:
        """Whether a line may have had more windows of a length, up to a limit: its table is full, and drops some."""
        if len(line.cells(size_ms)) >= limit:
            return False
        return any(self._counts[partition, size_ms] >= CLOSED_ROWS_KEPT for partition in line.partitions)

    def encoded(self, cell: Cell) -> msgspec.Raw:
        """Return a window as JSON."""
        return cell.encoded(self.sizes[cell.window.size_ms])

    def note(self, noting: bool) -> None:
        """Note what changes from now on, for `take_changed`; or no more."""
        self._noting = noting
        self._changed.clear()

    def take_changed(self, limit: int) -> list[Cell]:
        """Return at most so many windows that have changed since they were taken, those first that wait longest."""
        taken: list[Cell] = []
        while self._changed and len(taken) < limit:
            cell = next(iter(self._changed))
            del self._changed[cell]
            if not cell.gone:
                taken.append(cell)
        return taken


def newest(line: Line, sizes_ms: Iterable[int], limit: int) -> list[Cell]:
    """Return at most `limit` windows of each size, open ones first, newest first."""
    shown = [cell for size_ms in sizes_ms for cell in sorted(line.cells(size_ms), key=_order)[:limit]]
    return sorted(shown, key=_order)


def _market_of(line: Line) -> str:
    """Return a trade channel's name without the smallest volume."""
    return "" if AGGREGATES[line.aggregate].keyed_by_asset else line.key.rpartition("@")[0]


def is_of_market(channel_name: str, exchange: str, symbol: str) -> bool:
    """Whether a channel's trades are of this market."""
    channel = parse_channel(channel_name)
    return isinstance(channel, TradeChannel) and (channel.exchange, channel.symbol) == (exchange, symbol)


def window_object(window: WindowKey, row: Row, size_name: str) -> dict[str, Any]:
    """Return a window as the routes show it.

    That is the final's value as its `.avsc` has it (bounds in UTC ms, coverage null while open), with `window`, the
    size as it was asked for, and `final`.
    """
    aggregate = AGGREGATES[window.aggregate]
    final, coverage, totals = decode_window(row, aggregate.totals)
    return {**aggregate.value(window, totals, coverage), "window": size_name, "final": final}


def in_order(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Return windows of any keys and sizes with the open ones first, then the newest; without sorting them all."""
    buckets: dict[tuple[bool, int, int], list[Cell]] = {}
    for cell in cells:
        buckets.setdefault(cell.order, []).append(cell)
    for order in sorted(buckets):
        yield from buckets[order]
