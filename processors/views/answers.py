"""Answers about windows, JSON or CSV: what the board holds, and older finals from their topics."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE, Aggregate
from processors.pipeline import AHEAD_MS_MAX
from processors.views.board import Board, Cell, Line, in_order, is_of_market, newest
from processors.views.bodies import Body, aged, respond
from processors.views.csv_answers import windows_as_csv
from processors.views.history import ANSWER_WINDOWS_MAX, Final, FinalsHistory, Selection, channel_of
from processors.views.kept_bodies import KeptBodies
from processors.views.parameters import (
    WINDOWS_IN_TABLES,
    WINDOWS_MAX,
    Query,
    Range,
    parse_query,
    parse_range,
    wants_csv,
)
from processors.views.problems import BadRequestError, UnknownError
from processors.windows import WindowSize

#: Assets or channels that are looked at in one go, before others get their turn in the worker's loop.
LINES_AT_ONCE = 50
#: Returns the assets' or channels' windows that are asked for, as they stand now.
LinesNow = Callable[[], list[Line]]


class Asked(NamedTuple):
    """What is asked for, and whether by then the worker was behind."""

    aggregate: str
    name: tuple[str, ...]
    query: str
    csv: bool
    behind: bool

    @property
    def what(self) -> Hashable:
        """What the same answer is for."""
        return self[:-1]


class Answers:
    """Says what is known of assets and markets; `stale_ms` tells how old that is, where it has to be said."""

    def __init__(
        self,
        board: Board,
        history: FinalsHistory,
        sizes: tuple[WindowSize, ...],
        stale_ms: Callable[[], int | None],
    ) -> None:
        self._board, self._history, self._sizes, self._stale_ms = board, history, sizes, stale_ms
        self._run = secrets.token_hex(4)  # versions are counted anew by each run of a worker
        self.kept = KeptBodies()
        self._listing = asyncio.Lock()

    # -- what is asked for ---------------------------------------------------------------------------------------

    async def of_all(self, request: web.Request, aggregate: Aggregate) -> web.Response:
        """All assets or markets."""
        everyone = Selection(aggregate, (), bool)  # no final is without a key

        async def make(asked: Asked, query: Query) -> Body:
            if query.range is None:
                return await self._list(asked, aggregate, query)
            finals = await self._finals(everyone, lambda: self._board.lines(aggregate), query)
            return _of_finals(aggregate, {}, finals, asked.csv)

        return await self._answer(request, everyone, WINDOWS_IN_TABLES, make)

    async def of_asset(self, request: web.Request, asset: str) -> web.Response:
        """One asset's liquidations."""

        def lines() -> list[Line]:
            line = self._board.line(LIQUIDATION_VOLUME, asset)
            return [line] if line else []

        key = asset.encode(errors="replace")
        selection = Selection(LIQUIDATION_VOLUME, (asset,), lambda found: found == key, key)
        return await self._of_some(request, selection, {"asset": asset}, lines)

    async def of_market(self, request: web.Request, exchange: str, symbol: str) -> web.Response:
        """One market's trades, of all its channels."""

        def lines() -> list[Line]:
            return self._board.market(exchange, symbol)

        def holds(key: bytes) -> bool:
            return is_of_market(key.decode(errors="replace"), exchange, symbol)

        selection = Selection(TRADE_IMBALANCE, (exchange, symbol), holds)
        return await self._of_some(request, selection, {"exchange": exchange, "symbol": symbol}, lines)

    async def gaps(self, request: web.Request) -> web.Response:
        """Gaps of the feed that overlap a range."""
        within = parse_range(request.query.items(), _now_ms())
        gaps = [gap for gap in await self._history.gaps() if gap["from"] < within.to_ms and gap["to"] > within.from_ms]
        content = msgspec.json.encode({"gaps": gaps})
        return respond(request, Body(content, False, _digest(content)))

    async def _of_some(
        self, request: web.Request, selection: Selection, about: Mapping[str, str], lines: LinesNow
    ) -> web.Response:
        async def make(asked: Asked, query: Query) -> Body:
            found = lines()
            if not self._beyond_the_tables(found, query):
                return self._body_of_some(asked, selection, about, found, query)
            finals = await self._finals(selection, lines, query)
            if not finals and not lines():
                raise _unknown(selection, about, "are known")
            return _of_finals(selection.aggregate, about, finals, asked.csv)

        return await self._answer(request, selection, WINDOWS_MAX, make)

    async def _answer(
        self,
        request: web.Request,
        selection: Selection,
        windows_max: int,
        make: Callable[[Asked, Query], Awaitable[Body]],
    ) -> web.Response:
        """Answer with what was made a moment ago, or else is made now."""
        before_ms = self._stale_ms()
        csv = wants_csv(request.headers.get("Accept", ""))
        asked = Asked(selection.aggregate.name, selection.name, request.query_string, csv, before_ms is not None)
        body = self.kept.recent(asked.what, asked.behind)
        if body is None:
            body = await make(asked, parse_query(request.query.items(), self._sizes, _now_ms(), windows_max))
        # What was old before is in it, and so is what has become old while it was made.
        return respond(request, aged(body, self._stale_ms() or before_ms))

    def _beyond_the_tables(self, lines: list[Line], query: Query) -> bool:
        """Whether the finals' topics have to be read; that is too dear for who does not say how many windows."""
        if query.range is not None or query.windows > WINDOWS_IN_TABLES:
            return True
        lacking = (self._board.lacks(line, size_ms, query.windows) for line in lines for size_ms in query.sizes_ms)
        return query.counted and any(lacking)

    # -- from the tables -----------------------------------------------------------------------------------------

    def _body_of_some(
        self, asked: Asked, selection: Selection, about: Mapping[str, str], lines: list[Line], query: Query
    ) -> Body:
        if not lines:
            raise _unknown(selection, about, "stand in the newest windows; ?from=-24h looks further back")
        tag, now = self._tag("-".join(str(line.version) for line in lines), asked.csv), time.monotonic()
        body = self.kept.unchanged(asked.what, tag, asked.behind)
        if body is None:
            cells = in_order(cell for line in lines for cell in newest(line, query.sizes_ms, query.windows))
            body = self._of_cells(selection.aggregate, about, cells, asked.csv, tag)
            self.kept.keep(asked.what, body, now, time.monotonic() - now, asked.behind)
        return body

    async def _list(self, asked: Asked, aggregate: Aggregate, query: Query) -> Body:
        """Return all assets or markets; who asks the same at the same time gets the same answer."""
        async with self._listing:
            tag, now = self._tag(str(self._board.versions[aggregate.name]), asked.csv), time.monotonic()
            body = self.kept.recent(asked.what, asked.behind) or self.kept.unchanged(asked.what, tag, asked.behind)
            if body is None:
                cells, spent_seconds = await self._newest_of_all(aggregate, query)
                since = time.monotonic()
                body = self._of_cells(aggregate, {}, cells, asked.csv, tag)
                self.kept.keep(asked.what, body, now, spent_seconds + time.monotonic() - since, asked.behind)
        return body

    async def _newest_of_all(self, aggregate: Aggregate, query: Query) -> tuple[list[Cell], float]:
        """Return the windows of a list in its order, encoded, and the seconds that took.

        They are taken a few at a time, so that nothing else has to wait.
        """
        cells: list[Cell] = []
        spent_seconds, since = 0.0, time.monotonic()
        for number, line in enumerate(self._board.lines(aggregate), 1):
            of_line = newest(line, query.sizes_ms, query.windows)
            for cell in of_line:
                self._board.encoded(cell)
            cells += of_line
            if len(cells) > ANSWER_WINDOWS_MAX:
                raise BadRequestError(
                    f"that is more than {ANSWER_WINDOWS_MAX} windows: name one asset or market, one window, "
                    "or fewer windows"
                )
            if number % LINES_AT_ONCE == 0:
                spent_seconds += time.monotonic() - since
                await asyncio.sleep(0)
                since = time.monotonic()
        return list(in_order(cells)), spent_seconds + time.monotonic() - since

    def _of_cells(
        self,
        aggregate: Aggregate,
        about: Mapping[str, str],
        cells: Iterable[Cell],
        csv: bool,
        tag: str,
    ) -> Body:
        windows = [self._board.encoded(cell) for cell in cells if not cell.gone]
        if csv:
            return Body(windows_as_csv(aggregate, (msgspec.json.decode(window) for window in windows)), csv, tag)
        return Body(_json(about, windows), csv, tag)

    def _tag(self, version: str, csv: bool) -> str:
        return f"{self._run}-{version}{'-csv' if csv else ''}"

    # -- from the topics -----------------------------------------------------------------------------------------

    async def _finals(self, selection: Selection, lines: LinesNow, query: Query) -> list[Final]:
        """Return finals from the topics, and with them what the tables have of the same range, or of the newest.

        The tables are looked at last, so that nothing falls between the two.
        """
        if query.range is not None:
            finals = await self._history.between(selection, query.sizes, query.range)
            return _merged(self._windows(lines(), query), finals)
        if query.windows > WINDOWS_IN_TABLES:
            before_ms, newest_before = _now_ms() + AHEAD_MS_MAX, self._history.newest_before
            by_size = [await newest_before(selection, size, before_ms, query.windows) for size in query.sizes]
        else:  # what the tables would hold, were they not full
            end_ms, between = max(line.newest_end_ms for line in lines()), self._history.between
            by_size = [
                await between(selection, [size], Range(max(0, end_ms - WINDOWS_IN_TABLES * size.ms), end_ms))
                for size in query.sizes
            ]
        merged = _merged(self._windows(lines(), query), [final for finals in by_size for final in finals])
        of_each: dict[tuple[Any, ...], list[Final]] = {}
        for window in merged:
            of_each.setdefault((window["window"], channel_of(window)), []).append(window)
        return sorted((window for windows in of_each.values() for window in windows[: query.windows]), key=_order)

    def _windows(self, lines: Iterable[Line], query: Query) -> list[Final]:
        """Return all that the tables have of what is asked for."""
        return [
            msgspec.json.decode(self._board.encoded(cell))
            for line in lines
            for size_ms in query.sizes_ms
            for cell in line.cells(size_ms)
            if query.range is None or query.range.holds(cell.window.start_ms)
        ]


def _of_finals(aggregate: Aggregate, about: Mapping[str, str], finals: list[Final], csv: bool) -> Body:
    content = windows_as_csv(aggregate, finals) if csv else _json(about, finals)
    return Body(content, csv, _digest(content))


def _merged(windows: list[Final], finals: list[Final]) -> list[Final]:
    """Return windows of the tables and finals, each once, in the order of all answers.

    A final can be read before the tables here show its window as closed: then it is the newer of the two.
    """
    there = {_identity(final) for final in finals}
    return sorted([*finals, *(window for window in windows if _identity(window) not in there)], key=_order)


def _identity(window: Final) -> tuple[Any, ...]:
    of = (window["asset"],) if "asset" in window else (window["exchange"], window["symbol"], window["min_vol_usd"])
    return *of, window["window"], window["window_start"]


def _order(window: Final) -> tuple[bool, int, int]:
    return window["final"], -window["window_start"], -window["window_end"]


def _unknown(selection: Selection, about: Mapping[str, str], where: str) -> UnknownError:
    what = "liquidations of this asset" if selection.aggregate is LIQUIDATION_VOLUME else "trades of this market"
    return UnknownError(f"no {what} {where}", about)


def _json(about: Mapping[str, str], windows: list[Any]) -> bytes:
    return msgspec.json.encode({**about, "windows": windows})


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def _now_ms() -> int:
    return round(time.time() * 1e3)
