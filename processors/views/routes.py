"""The worker's routes on Faust's web server, which is aiohttp's.

They are given to aiohttp itself, past Faust's views, whose lookups and sensors every request would have to pay for.
"""

from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from faust.web.base import BlueprintManager
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE
from processors.engine.engine import Engine
from processors.engine.seams import serve_with
from processors.settings import WorkerSettings
from processors.views.access import guard
from processors.views.answers import Answers
from processors.views.assets import asset_pages
from processors.views.events import EventStreams
from processors.views.group import Group
from processors.views.history import FinalsHistory
from processors.views.metrics import worker_registry
from processors.views.openapi import document
from processors.views.parameters import no_parameters
from processors.views.server import LimitedRunner


def add_routes(engine: Engine, settings: WorkerSettings) -> None:
    """Put the routes into the app, in place of Faust's own index and table pages."""
    server: Any = engine.app.web
    server.blueprints = BlueprintManager()
    application: web.Application = server.web_app
    serve_with(engine.app, LimitedRunner(application))
    views, assets = _Views(engine, settings), asset_pages()
    pages: dict[str, Handler] = {
        "/liquidations/": views.liquidations,
        "/liquidations/{asset:[^/]+}/": views.liquidations_of_asset,
        "/imbalance/": views.imbalance,
        "/imbalance/{exchange:[^/]+}/{symbol:[^/]+}/": views.imbalance_of_market,
        "/gaps/": views.gaps,
        "/events": views.events,
        "/health": views.health,
        "/ready": views.ready,
        "/metrics": views.metrics,
        "/openapi.json": views.openapi,
        **assets,
    }
    for path, handler in pages.items():
        application.router.add_get(path, handler)
        if path.endswith("/") and path != "/":
            application.router.add_get(path.rstrip("/"), handler)
    # The page itself holds no data: it asks for the token, and then the other routes.
    application.middlewares.append(guard(settings.web_token, {*assets, "/health", "/ready"}))
    application.on_shutdown.append(views.close)


class _Views:
    """One method a route."""

    def __init__(self, engine: Engine, settings: WorkerSettings) -> None:
        self._engine = engine
        self._registry = worker_registry(engine)
        self._group = Group(engine, settings)
        self._history = FinalsHistory(settings.bootstrap, settings.topics)
        self._answers = Answers(self._group.board, self._history, settings.window_sizes, self._group.stale_ms)
        self._events = EventStreams(self._group, opened=self._answers.kept.make_anew)
        described = document(settings.window_sizes, with_token=settings.web_token is not None)
        self._document = msgspec.json.encode(described)

    async def close(self, app: web.Application) -> None:
        """End what is open."""
        del app
        await self._events.close()
        await self._group.rows.close()
        await self._history.close()

    # -- windows -------------------------------------------------------------------------------------------------

    async def liquidations(self, request: web.Request) -> web.Response:
        """All assets."""
        await self._group.complete()
        return await self._answers.of_all(request, LIQUIDATION_VOLUME)

    async def liquidations_of_asset(self, request: web.Request) -> web.Response:
        """One asset."""
        await self._group.complete()
        return await self._answers.of_asset(request, request.match_info["asset"])

    async def imbalance(self, request: web.Request) -> web.Response:
        """All markets."""
        await self._group.complete()
        return await self._answers.of_all(request, TRADE_IMBALANCE)

    async def imbalance_of_market(self, request: web.Request) -> web.Response:
        """One market: all its channels, as two smallest volumes are never added together."""
        await self._group.complete()
        exchange, symbol = request.match_info["exchange"], request.match_info["symbol"]
        return await self._answers.of_market(request, exchange, symbol)

    async def gaps(self, request: web.Request) -> web.Response:
        """Times in which nobody heard a channel."""
        return await self._answers.gaps(request)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What changes."""
        no_parameters(request.query.items())
        return await self._events.serve(request)

    # -- the worker ----------------------------------------------------------------------------------------------

    async def health(self, request: web.Request) -> web.Response:
        """Liveness."""
        del request
        return _json({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Readiness: state recovered, broker reached."""
        del request
        if self._engine.ready:
            return _json({"status": "ready"})
        return _json({"status": "recovering, or the broker is away"}, 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus."""
        del request
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, request: web.Request) -> web.Response:
        """Describe the routes."""
        no_parameters(request.query.items())
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=self._document, content_type="application/json", headers=headers)


def _json(value: Any, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    body = msgspec.json.encode(value)
    return web.Response(body=body, content_type="application/json", status=status, headers=headers)
