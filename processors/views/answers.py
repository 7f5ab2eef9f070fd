"""Answers about windows, JSON or CSV: what the board holds, and older finals from their topics."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from faust.web.base import Request, Response, Web

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE, Aggregate
from processors.pipeline import AHEAD_MS_MAX
from processors.views.board import Board, Cell, Line, in_order, is_of_market, newest
from processors.views.csv_answers import windows_as_csv
from processors.views.history import WINDOWS_MAX, Final, FinalsHistory, Selection
from processors.views.parameters import WINDOWS_IN_TABLES, Query, parse_query, parse_range, wants_csv
from processors.views.problems import BadRequestError, UnknownError
from processors.windows import WindowSize

#: Assets or channels that are looked at in one go, before others get their turn in the worker's loop.
LINES_AT_ONCE = 100
#: A list is long to make: for so long the last one is answered again.
LIST_SECONDS = 0.1
LISTS_KEPT_MAX = 8


@dataclass(frozen=True, slots=True)
class _Body:
    """A finished answer; the tag is the same for the same content."""

    content: bytes
    csv: bool
    tag: str | None
    made_at: float


class Answers:
    """Says what is known of assets and markets."""

    def __init__(self, board: Board, history: FinalsHistory, sizes: tuple[WindowSize, ...]) -> None:
        self._board, self._history, self._sizes = board, history, sizes
        self._run = secrets.token_hex(4)  # versions are counted anew by each run of a worker
        self._lists: dict[tuple[Any, ...], _Body] = {}
        self._listing = asyncio.Lock()

    # -- what is asked for ---------------------------------------------------------------------------------------

    async def of_all(self, web: Web, request: Request, aggregate: Aggregate, stale_ms: int | None) -> Response:
        """All assets or markets."""
        query, csv = self._query(request, WINDOWS_IN_TABLES), wants_csv(request.headers.get("Accept", ""))
        if query.range is not None:
            everyone = Selection(aggregate, (), bool)  # no final is without a key
            finals = await self._finals(everyone, lambda: self._board.lines(aggregate), query)
            return _respond(web, request, self._old(aggregate, {}, finals, csv, stale_ms))
        about = aggregate.name, query, csv, stale_ms is not None
        async with self._listing:  # one at a time: who asks the same meanwhile gets the same answer
            body = self._lists.get(about)
            if body is None or (body.tag != self._tag(*about) and time.monotonic() - body.made_at > LIST_SECONDS):
                tag = None if stale_ms is not None else self._tag(*about)
                cells = await _newest_of(self._board.lines(aggregate), query)
                body = self._new(aggregate, {}, cells, csv, stale_ms, tag)
                self._lists.pop(about, None)
                self._lists[about] = body
                if len(self._lists) > LISTS_KEPT_MAX:
                    del self._lists[next(iter(self._lists))]
        return _respond(web, request, body)

    async def of_asset(self, web: Web, request: Request, asset: str, stale_ms: int | None) -> Response:
        """One asset's liquidations."""

        def lines() -> list[Line]:
            line = self._board.line(LIQUIDATION_VOLUME, asset)
            return [line] if line else []

        key = asset.encode(errors="replace")
        selection = Selection(LIQUIDATION_VOLUME, (asset,), lambda found: found == key, key)
        return await self._of_some(web, request, selection, {"asset": asset}, lines, stale_ms)

    async def of_market(self, web: Web, request: Request, exchange: str, symbol: str, stale_ms: int | None) -> Response:
        """One market's trades, of all its channels."""
        about = {"exchange": exchange, "symbol": symbol}
        selection = Selection(
            TRADE_IMBALANCE, (exchange, symbol), lambda key: is_of_market(key.decode(), exchange, symbol)
        )

        def lines() -> list[Line]:
            return self._board.market(exchange, symbol)

        return await self._of_some(web, request, selection, about, lines, stale_ms)

    async def gaps(self, web: Web, request: Request) -> Response:
        """Gaps of the feed that overlap a range."""
        within = parse_range(request.query.items(), _now_ms())
        gaps = [gap for gap in await self._history.gaps() if gap["from"] < within.to_ms and gap["to"] > within.from_ms]
        content = msgspec.json.encode({"gaps": gaps})
        return _respond(web, request, _Body(content, False, _digest(content), 0.0))

    # -- how it is answered --------------------------------------------------------------------------------------

    async def _of_some(
        self,
        web: Web,
        request: Request,
        selection: Selection,
        about: Mapping[str, str],
        lines_now: Callable[[], list[Line]],
        stale_ms: int | None,
    ) -> Response:
        query, csv = self._query(request), wants_csv(request.headers.get("Accept", ""))
        if query.range is not None or query.windows > WINDOWS_IN_TABLES:
            finals = await self._finals(selection, lines_now, query)
            if not finals and not lines_now():
                raise _unknown(selection, about)
            return _respond(web, request, self._old(selection.aggregate, about, finals, csv, stale_ms))
        lines = lines_now()
        if not lines:
            raise _unknown(selection, about)
        versions = "-".join(str(line.version) for line in lines)
        tag = None if stale_ms is not None else self._tag(query, csv, version=versions)
        if tag is not None and _has(request, tag):
            return _respond(web, request, _Body(b"", csv, tag, 0.0))
        cells = [cell for line in lines for cell in newest(line, query.sizes_ms, query.windows)]
        return _respond(web, request, self._new(selection.aggregate, about, cells, csv, stale_ms, tag))

    def _query(self, request: Request, windows_max: int | None = None) -> Query:
        most = {} if windows_max is None else {"windows_max": windows_max}
        return parse_query(request.query.items(), self._sizes, _now_ms(), **most)

    def _tag(self, *about: Any, version: str | None = None) -> str:
        said = version if version is not None else str(self._board.version)
        return f"{self._run}-{_digest(repr((about, said)).encode())}"

    def _new(
        self,
        aggregate: Aggregate,
        about: Mapping[str, str],
        cells: Iterable[Cell],
        csv: bool,
        stale_ms: int | None,
        tag: str | None,
    ) -> _Body:
        """Return what the tables hold."""
        windows = [self._board.encoded(cell) for cell in in_order(cells) if not cell.gone]
        if csv:
            content = windows_as_csv(aggregate, (msgspec.json.decode(bytes(window)) for window in windows))
        else:
            content = _json(about, windows, stale_ms)
        return _Body(content, csv, tag, time.monotonic())

    def _old(
        self,
        aggregate: Aggregate,
        about: Mapping[str, str],
        finals: list[Final],
        csv: bool,
        stale_ms: int | None,
    ) -> _Body:
        """Return what was read from topics."""
        content = windows_as_csv(aggregate, finals) if csv else _json(about, finals, stale_ms)
        return _Body(content, csv, None if stale_ms is not None else _digest(content), time.monotonic())

    async def _finals(self, selection: Selection, lines: Callable[[], Iterable[Line]], query: Query) -> list[Final]:
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
            msgspec.json.decode(bytes(self._board.encoded(cell)))
            for line in lines
            for cell in line.cells.values()
            if cell.window.size_ms in query.sizes_ms
            and (query.range is None or query.range.holds(cell.window.start_ms))
        ]


def _merged(windows: list[Final], finals: list[Final]) -> list[Final]:
    """Return windows of the tables and finals, each once, in the order of all answers."""
    there = {_identity(final) for final in finals}
    merged = [*finals, *(window for window in windows if _identity(window) not in there)]
    return sorted(merged, key=_order)


def _order(window: Final) -> tuple[bool, int, int]:
    return window["final"], -window["window_start"], -window["window_end"]


def _identity(window: Final) -> tuple[Any, ...]:
    of = (window["asset"],) if "asset" in window else (window["exchange"], window["symbol"], window["min_vol_usd"])
    return *of, window["window"], window["window_start"], window["final"]


async def _newest_of(lines: Iterable[Line], query: Query) -> list[Cell]:
    shown: list[Cell] = []
    for number, line in enumerate(lines, 1):
        shown += newest(line, query.sizes_ms, query.windows)
        if len(shown) > WINDOWS_MAX:
            raise BadRequestError(
                f"that is more than {WINDOWS_MAX} windows: name one asset or market, one window, or fewer windows"
            )
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown


def _unknown(selection: Selection, about: Mapping[str, str]) -> UnknownError:
    what = "liquidations of this asset" if selection.aggregate is LIQUIDATION_VOLUME else "trades of this market"
    return UnknownError(f"no {what} are known", about)


def _json(about: Mapping[str, str], windows: list[Any], stale_ms: int | None) -> bytes:
    stale = {} if stale_ms is None else {"stale_ms": stale_ms}
    return msgspec.json.encode({**about, "windows": windows, **stale})


def _respond(web: Web, request: Request, body: _Body) -> Response:
    headers = {"Cache-Control": "no-cache", "Vary": "Accept, Authorization"}
    if body.tag is not None:
        headers["ETag"] = f'"{body.tag}"'
        if _has(request, body.tag):
            return web.bytes(b"", status=304, headers=headers)
    if body.csv:
        headers["Content-Type"] = "text/csv; charset=utf-8; header=present"
        return web.bytes(body.content, headers=headers)
    return web.bytes(body.content, content_type="application/json", headers=headers)


def _has(request: Request, tag: str) -> bool:
    """Whether the asker has an answer with this tag already."""
    return f'"{tag}"' in request.headers.get("If-None-Match", "")


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def _now_ms() -> int:
    return round(time.time() * 1e3)
