"""The worker's routes on Faust's web server."""

import time
from collections.abc import Mapping
from typing import Any

import faust
import msgspec
from aiohttp import web as http
from faust.types import TP
from faust.web.base import BlueprintManager, Request, Response, Web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.engine.engine import Engine
from processors.engine.group_rows import GroupRows
from processors.engine.seams import owners
from processors.settings import WorkerSettings
from processors.views.access import add_headers, guard
from processors.views.answers import Answers
from processors.views.assets import Handler, asset_pages
from processors.views.board import Board
from processors.views.events import EventStreams
from processors.views.health import PartitionState, group_health, watermark_ms
from processors.views.history import FinalsHistory
from processors.views.metrics import worker_registry
from processors.views.openapi import document
from processors.views.parameters import no_parameters
from processors.views.problems import RecoveringError

#: How long a request waits for the rows of the whole group: to be read where nobody asked for a while.
ROWS_SECONDS_MAX = 3.0
#: Rows may be as old as this before an answer says so.
FRESH_MS_MAX = 2_000


def add_routes(engine: Engine, settings: WorkerSettings) -> None:
    """Put the routes into the app, in place of Faust's own index and table pages."""
    app, web = engine.app, engine.app.web
    web.blueprints = BlueprintManager()
    views, assets = _Views(engine, settings), asset_pages()
    pages: dict[str, Handler] = {
        "/liquidations/": views.liquidations,
        "/liquidations/{asset}/": views.liquidations_of_asset,
        "/imbalance/": views.imbalance,
        "/imbalance/{exchange}/{symbol}/": views.imbalance_of_market,
        "/gaps/": views.gaps,
        "/events": views.events,
        "/health": views.health,
        "/ready": views.ready,
        "/metrics": views.metrics,
        "/openapi.json": views.openapi,
        **assets,
    }
    for path, handler in pages.items():
        _page(app, path, handler)
        if path.endswith("/") and path != "/":
            _page(app, path.rstrip("/"), handler)
    application: http.Application = web.web_app  # type: ignore[attr-defined]
    # The page itself holds no data: it asks for the token, and then the other routes.
    application.middlewares.append(guard(settings.web_token, {*assets, "/health", "/ready"}))
    application.on_response_prepare.append(add_headers)
    application.on_shutdown.append(views.close)


def _page(app: faust.App, path: str, handler: Handler) -> None:
    async def view(self: Any, request: Request, **parameters: str) -> Response:
        return await handler(self.web, request, **parameters)

    app.page(path, name=path)(view)


class _Views:
    """Answers for the whole group."""

    def __init__(self, engine: Engine, settings: WorkerSettings) -> None:
        self._engine, sizes, bootstrap = engine, settings.window_sizes, settings.bootstrap
        self._registry = worker_registry(engine)
        self._board = Board(sizes)
        self._rows = GroupRows(engine, bootstrap, self._board)
        self._events = EventStreams(self._board, self._rows, self._group_health)
        self._history = FinalsHistory(bootstrap, settings.topics)
        self._answers = Answers(self._board, self._history, sizes)
        self._document = msgspec.json.encode(document(sizes, with_token=settings.web_token is not None))

    async def close(self, app: http.Application) -> None:
        """End what is open."""
        del app
        await self._events.close()
        await self._rows.close()
        await self._history.close()

    # -- windows -------------------------------------------------------------------------------------------------

    async def liquidations(self, web: Web, request: Request) -> Response:
        """All assets."""
        await self._complete()
        return await self._answers.of_all(web, request, LIQUIDATION_VOLUME, self._stale_ms())

    async def liquidations_of_asset(self, web: Web, request: Request, asset: str) -> Response:
        """One asset."""
        await self._complete()
        return await self._answers.of_asset(web, request, asset, self._stale_ms())

    async def imbalance(self, web: Web, request: Request) -> Response:
        """All markets."""
        await self._complete()
        return await self._answers.of_all(web, request, TRADE_IMBALANCE, self._stale_ms())

    async def imbalance_of_market(self, web: Web, request: Request, exchange: str, symbol: str) -> Response:
        """One market: all its channels, as two smallest volumes are never added together."""
        await self._complete()
        return await self._answers.of_market(web, request, exchange, symbol, self._stale_ms())

    async def gaps(self, web: Web, request: Request) -> Response:
        """Times in which nobody heard a channel."""
        return await self._answers.gaps(web, request)

    async def events(self, web: Web, request: Request) -> Response:
        """What changes."""
        del web
        no_parameters(request.query.items())
        return await self._events.serve(request)  # type: ignore[arg-type, return-value]

    # -- the worker ----------------------------------------------------------------------------------------------

    async def health(self, web: Web, request: Request) -> Response:
        """Liveness."""
        del request
        return _json(web, {"status": "ok"})

    async def openapi(self, web: Web, request: Request) -> Response:
        """Describe the routes."""
        no_parameters(request.query.items())
        return web.bytes(self._document, content_type="application/json", headers={"Cache-Control": "no-cache"})

    async def ready(self, web: Web, request: Request) -> Response:
        """Readiness: state recovered, broker reached."""
        del request
        ready = self._engine.ready
        return _json(web, {"status": "ready" if ready else "recovering, or the broker is away"}, 200 if ready else 503)

    async def metrics(self, web: Web, request: Request) -> Response:
        """Prometheus."""
        del request
        return web.bytes(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    # -- the group -----------------------------------------------------------------------------------------------

    async def _complete(self) -> None:
        if not await self._rows.kept(ROWS_SECONDS_MAX):
            raise RecoveringError(self._rows.missing)

    def _stale_ms(self) -> int | None:
        """Return how old the oldest rows are; None where they are fresh, and no partition is being handed over."""
        now_ms = round(time.time() * 1e3)
        stale_ms = max((self._age_ms(tp, now_ms) for tp in self._rows.sources), default=0)
        return stale_ms if stale_ms > FRESH_MS_MAX or not self._engine.ready else None

    def _age_ms(self, tp: TP, now_ms: int) -> int:
        as_of_ms = self._rows.freshness[tp].as_of_ms or 0
        # Rows that never held all there was, as under a backlog, hold at least what happened before the watermark.
        return max(0, now_ms - max(as_of_ms, watermark_ms(self._board, *tp) or 0))

    def _group_health(self) -> Mapping[str, Any]:
        now_ms, assigned = round(time.time() * 1e3), owners(self._engine.app)
        missing = set(self._rows.missing)
        return group_health(
            self._board,
            [
                PartitionState(
                    *tp,
                    owner=assigned.get(tp),
                    recovering=tp in missing or not self._engine.ready,
                    lag=None if tp in missing else self._rows.freshness[tp].lag,
                    stale_ms=None if tp in missing else self._age_ms(tp, now_ms),
                )
                for tp in self._rows.sources
            ],
            now_ms,
        )


def _json(web: Web, value: Any, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return web.bytes(msgspec.json.encode(value), content_type="application/json", status=status, headers=headers)
