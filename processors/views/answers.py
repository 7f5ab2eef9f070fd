"""Answers about windows, JSON or CSV: what the board holds, and older finals from their topics."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from aiohttp import web

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE, Aggregate
from processors.pipeline import AHEAD_MS_MAX
from processors.views.board import Board, Cell, Line, in_order, is_of_market, newest
from processors.views.csv_answers import windows_as_csv
from processors.views.history import WINDOWS_MAX, Final, FinalsHistory, Selection
from processors.views.parameters import WINDOWS_IN_TABLES, Query, parse_query, parse_range, wants_csv
from processors.views.problems import BadRequestError, UnknownError
from processors.windows import WindowSize

#: Assets or channels that are looked at in one go, before others get their turn in the worker's loop.
LINES_AT_ONCE = 50
#: A list is long to make: for so long the last one is answered again.
LIST_SECONDS = 0.1
BODIES_KEPT_MAX, LISTS_KEPT_MAX = 256, 8

#: Returns the assets' or channels' windows that are asked for, as they stand now.
LinesNow = Callable[[], list[Line]]


@dataclass(frozen=True, slots=True)
class Body:
    """A finished answer; `tag` is the same for the same content, and none where the content is of this moment alone."""

    content: bytes
    csv: bool
    tag: str | None


class Answers:
    """Says what is known of assets and markets; `stale_ms` is how old that is, where it has to be said."""

    def __init__(self, board: Board, history: FinalsHistory, sizes: tuple[WindowSize, ...]) -> None:
        self._board, self._history, self._sizes = board, history, sizes
        self._run = secrets.token_hex(4)  # versions are counted anew by each run of a worker
        self._bodies: OrderedDict[tuple[Any, ...], Body] = OrderedDict()
        self._lists: OrderedDict[tuple[Any, ...], tuple[float, Body]] = OrderedDict()
        self._listing = asyncio.Lock()

    # -- what is asked for ---------------------------------------------------------------------------------------

    async def of_all(self, request: web.Request, aggregate: Aggregate, stale_ms: int | None) -> web.Response:
        """All assets or markets."""
        query, csv = self._query(request, WINDOWS_IN_TABLES), _csv(request)
        if query.range is not None:
            everyone = Selection(aggregate, (), bool)  # no final is without a key
            finals = await self._finals(everyone, lambda: self._board.lines(aggregate), query)
            return respond(request, _of_finals(aggregate, {}, finals, csv, stale_ms))
        return respond(request, await self._list(aggregate, query, csv, stale_ms))

    async def of_asset(self, request: web.Request, asset: str, stale_ms: int | None) -> web.Response:
        """One asset's liquidations."""

        def lines() -> list[Line]:
            line = self._board.line(LIQUIDATION_VOLUME, asset)
            return [line] if line else []

        key = asset.encode(errors="replace")
        selection = Selection(LIQUIDATION_VOLUME, (asset,), lambda found: found == key, key)
        return await self._of_some(request, selection, {"asset": asset}, lines, stale_ms)

    async def of_market(self, request: web.Request, exchange: str, symbol: str, stale_ms: int | None) -> web.Response:
        """One market's trades, of all its channels."""

        def lines() -> list[Line]:
            return self._board.market(exchange, symbol)

        def holds(key: bytes) -> bool:
            return is_of_market(key.decode(errors="replace"), exchange, symbol)

        selection = Selection(TRADE_IMBALANCE, (exchange, symbol), holds)
        return await self._of_some(request, selection, {"exchange": exchange, "symbol": symbol}, lines, stale_ms)

    async def gaps(self, request: web.Request) -> web.Response:
        """Gaps of the feed that overlap a range."""
        within = parse_range(request.query.items(), _now_ms())
        gaps = [gap for gap in await self._history.gaps() if gap["from"] < within.to_ms and gap["to"] > within.from_ms]
        content = msgspec.json.encode({"gaps": gaps})
        return respond(request, Body(content, False, _digest(content)))

    # -- from the tables -----------------------------------------------------------------------------------------

    async def _of_some(
        self,
        request: web.Request,
        selection: Selection,
        about: Mapping[str, str],
        lines: LinesNow,
        stale_ms: int | None,
    ) -> web.Response:
        query, csv = self._query(request), _csv(request)
        if query.range is not None or query.windows > WINDOWS_IN_TABLES:
            finals = await self._finals(selection, lines, query)
            if not finals and not lines():
                raise _unknown(selection, about)
            return respond(request, _of_finals(selection.aggregate, about, finals, csv, stale_ms))
        found = lines()
        if not found:
            raise _unknown(selection, about)
        version = "-".join(str(line.version) for line in found)
        asked = selection.aggregate.name, selection.name, query, csv
        body = self._bodies.get(asked)
        if body is None or stale_ms is not None or body.tag != self._tag(version, csv):
            cells = in_order(cell for line in found for cell in newest(line, query.sizes_ms, query.windows))
            tag = self._tag(version, csv) if stale_ms is None else None
            body = self._of_cells(selection.aggregate, about, cells, csv, stale_ms, tag)
            _keep(self._bodies, asked, body, BODIES_KEPT_MAX)
        return respond(request, body)

    async def _list(self, aggregate: Aggregate, query: Query, csv: bool, stale_ms: int | None) -> Body:
        """Return all assets or markets; who asks the same at the same time gets the same answer."""
        asked = aggregate.name, query, csv, stale_ms is not None
        async with self._listing:
            made_at, body = self._lists.get(asked, (0.0, None))
            tag = self._tag(str(self._board.version), csv) if stale_ms is None else None
            fresh = time.monotonic() - made_at < LIST_SECONDS or (
                tag is not None and body is not None and body.tag == tag
            )
            if body is None or not fresh:
                cells = await self._newest_of_all(aggregate, query)
                body = self._of_cells(aggregate, {}, cells, csv, stale_ms, tag)
                _keep(self._lists, asked, (time.monotonic(), body), LISTS_KEPT_MAX)
        return body

    async def _newest_of_all(self, aggregate: Aggregate, query: Query) -> list[Cell]:
        """Return the windows of a list in its order, encoded; a few at a time, so that nothing else has to wait."""
        by_order: dict[tuple[bool, int, int], list[Cell]] = {}
        count = 0
        for number, line in enumerate(self._board.lines(aggregate), 1):
            for cell in newest(line, query.sizes_ms, query.windows):
                self._board.encoded(cell)
                by_order.setdefault(cell.order, []).append(cell)
                count += 1
            if count > WINDOWS_MAX:
                raise BadRequestError(
                    f"that is more than {WINDOWS_MAX} windows: name one asset or market, one window, or fewer windows"
                )
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return [cell for order in sorted(by_order) for cell in by_order[order]]

    def _of_cells(
        self,
        aggregate: Aggregate,
        about: Mapping[str, str],
        cells: Iterable[Cell],
        csv: bool,
        stale_ms: int | None,
        tag: str | None,
    ) -> Body:
        windows = [self._board.encoded(cell) for cell in cells if not cell.gone]
        if csv:
            return Body(windows_as_csv(aggregate, (msgspec.json.decode(window) for window in windows)), csv, tag)
        return Body(_json(about, windows, stale_ms), csv, tag)

    def _tag(self, version: str, csv: bool) -> str:
        return f"{self._run}-{version}{'-csv' if csv else ''}"

    # -- from the topics -----------------------------------------------------------------------------------------

    async def _finals(self, selection: Selection, lines: LinesNow, query: Query) -> list[Final]:
        """Return finals from the topics, and with them what the tables have of the same range, or of the newest.

        The tables are looked at last: what is open there then has no final among those that were read.
        """
        if query.range is not None:
            finals = await self._history.between(selection, query.sizes, query.range)
            return _merged(self._windows(lines(), query), finals)
        before_ms = _now_ms() + AHEAD_MS_MAX
        by_size = [await self._history.newest_before(selection, s, before_ms, query.windows) for s in query.sizes]
        merged = _merged(self._windows(lines(), query), [final for finals in by_size for final in finals])
        newest_of = ([w for w in merged if w["window"] == size.name][: query.windows] for size in query.sizes)
        return sorted((window for windows in newest_of for window in windows), key=_order)

    def _windows(self, lines: Iterable[Line], query: Query) -> list[Final]:
        """Return all that the tables have of what is asked for."""
        return [
            msgspec.json.decode(self._board.encoded(cell))
            for line in lines
            for cell in line.cells.values()
            if cell.window.size_ms in query.sizes_ms
            and (query.range is None or query.range.holds(cell.window.start_ms))
        ]

    def _query(self, request: web.Request, windows_max: int | None = None) -> Query:
        most = {} if windows_max is None else {"windows_max": windows_max}
        return parse_query(request.query.items(), self._sizes, _now_ms(), **most)


def respond(request: web.Request, body: Body) -> web.Response:
    """Return the answer, or 304 to whoever has it already."""
    headers = {"Cache-Control": "no-cache", "Vary": "Accept, Authorization"}
    if body.tag is not None:
        headers["ETag"] = f'"{body.tag}"'
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "text/csv; charset=utf-8; header=present" if body.csv else "application/json"
    return web.Response(body=body.content, headers=headers)


def _of_finals(
    aggregate: Aggregate, about: Mapping[str, str], finals: list[Final], csv: bool, stale_ms: int | None
) -> Body:
    content = windows_as_csv(aggregate, finals) if csv else _json(about, finals, stale_ms)
    return Body(content, csv, _digest(content) if stale_ms is None else None)


def _merged(windows: list[Final], finals: list[Final]) -> list[Final]:
    """Return windows of the tables and finals, each once, in the order of all answers."""
    there = {_identity(final) for final in finals}
    return sorted([*finals, *(window for window in windows if _identity(window) not in there)], key=_order)


def _identity(window: Final) -> tuple[Any, ...]:
    of = (window["asset"],) if "asset" in window else (window["exchange"], window["symbol"], window["min_vol_usd"])
    return *of, window["window"], window["window_start"], window["final"]


def _order(window: Final) -> tuple[bool, int, int]:
    return window["final"], -window["window_start"], -window["window_end"]


def _unknown(selection: Selection, about: Mapping[str, str]) -> UnknownError:
    what = "liquidations of this asset" if selection.aggregate is LIQUIDATION_VOLUME else "trades of this market"
    return UnknownError(f"no {what} are known", about)


def _json(about: Mapping[str, str], windows: list[Any], stale_ms: int | None) -> bytes:
    stale = {} if stale_ms is None else {"stale_ms": stale_ms}
    return msgspec.json.encode({**about, "windows": windows, **stale})


def _keep(kept: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], value: Any, count_max: int) -> None:
    """Keep a value, and the last so many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > count_max:
        kept.popitem(last=False)


def _csv(request: web.Request) -> bool:
    return wants_csv(request.headers.get("Accept", ""))


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def _now_ms() -> int:
    return round(time.time() * 1e3)
