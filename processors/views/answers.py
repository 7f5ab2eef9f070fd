"""Answers about windows: JSON or CSV of what the board holds, and of older finals."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from faust.web.base import Request, Response, Web

from processors.aggregates import LIQUIDATION_VOLUME, Aggregate
from processors.views.board import Board, Cell, Line, in_order, newest
from processors.views.parameters import WINDOWS_IN_TABLES, Query, parse_query
from processors.views.problems import UnknownError
from processors.windows import WindowSize

#: Assets or channels that are looked at in one go, before others get their turn in the worker's loop.
LINES_AT_ONCE = 100


class Answers:
    """Says what is known of assets and markets."""

    def __init__(self, board: Board, sizes: tuple[WindowSize, ...]) -> None:
        self._board, self._sizes = board, sizes

    async def of_all(self, web: Web, request: Request, aggregate: Aggregate, stale_ms: int | None) -> Response:
        """All assets or markets."""
        query = self._query(request, WINDOWS_IN_TABLES)
        return await self._answer(web, {}, self._board.lines(aggregate), query, stale_ms)

    async def of_asset(self, web: Web, request: Request, asset: str, stale_ms: int | None) -> Response:
        """One asset's liquidations."""
        query = self._query(request)
        line = self._board.line(LIQUIDATION_VOLUME, asset)
        if line is None:
            raise UnknownError("no liquidations of this asset are known", asset=asset)
        return await self._answer(web, {"asset": asset}, [line], query, stale_ms)

    async def of_market(self, web: Web, request: Request, exchange: str, symbol: str, stale_ms: int | None) -> Response:
        """One market's trades, of all its channels."""
        query = self._query(request)
        market = {"exchange": exchange, "symbol": symbol}
        lines = self._board.market(exchange, symbol)
        if not lines:
            raise UnknownError("no trades of this market are known", exchange=exchange, symbol=symbol)
        return await self._answer(web, market, lines, query, stale_ms)

    def _query(self, request: Request, windows_max: int = WINDOWS_IN_TABLES) -> Query:
        return parse_query(request.query.items(), self._sizes, round(time.time() * 1e3), windows_max)

    async def _answer(
        self, web: Web, about: Mapping[str, Any], lines: Iterable[Line], query: Query, stale_ms: int | None
    ) -> Response:
        windows = [self._board.encoded(cell) for cell in in_order(await _shown(lines, query)) if not cell.gone]
        stale = {} if stale_ms is None else {"stale_ms": stale_ms}
        body = msgspec.json.encode({**about, "windows": windows, **stale})
        return web.bytes(body, content_type="application/json", headers={"Cache-Control": "no-cache"})


async def _shown(lines: Iterable[Line], query: Query) -> list[Cell]:
    shown: list[Cell] = []
    for number, line in enumerate(lines, 1):
        shown += newest(line, query.sizes_ms, query.windows)
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown
