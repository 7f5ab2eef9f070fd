"""The worker's routes on Faust's web server."""

from collections.abc import Iterable
from typing import Any

import faust
import msgspec
from faust.web.base import BlueprintManager, Request, Response, Web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from processors.aggregates import LIQUIDATION_VOLUME, TRADE_IMBALANCE, Aggregate
from processors.engine.engine import Engine
from processors.views.assets import Handler, asset_pages
from processors.views.metrics import worker_registry
from processors.views.tables import Rows, in_order, newest, windows_by_key, windows_of
from processors.windows import WindowSize
from schemas.channels import TradeChannel, parse_channel

WINDOWS_DEFAULT = 10
WINDOWS_MAX = 60


class BadRequestError(Exception):
    """A parameter that cannot be; the message says what can."""


def add_routes(engine: Engine, sizes: Iterable[WindowSize]) -> None:
    """Put the routes into the app, in place of Faust's own index and table pages."""
    app, web = engine.app, engine.app.web
    web.blueprints = BlueprintManager()
    views = _Views(engine, tuple(sizes))
    pages: dict[str, Handler] = {
        "/liquidations/": views.liquidations,
        "/liquidations/{asset}/": views.liquidations_of_asset,
        "/imbalance/": views.imbalance,
        "/imbalance/{exchange}/{symbol}/": views.imbalance_of_market,
        "/health": views.health,
        "/ready": views.ready,
        "/metrics": views.metrics,
        **asset_pages(),
    }
    for path, handler in pages.items():
        _page(app, path, handler)
        if path.endswith("/") and path != "/":
            _page(app, path.rstrip("/"), handler)


def _page(app: faust.App, path: str, handler: Handler) -> None:
    async def view(self: Any, request: Request, **parameters: str) -> Response:
        try:
            return await handler(self.web, request, **parameters)
        except BadRequestError as error:
            return _json(self.web, {"error": str(error)}, 400)

    app.page(path, name=path)(view)


class _Views:
    """Answers from the committed rows of this worker's tables."""

    def __init__(self, engine: Engine, sizes: tuple[WindowSize, ...]) -> None:
        self._engine, self._sizes = engine, sizes
        self._registry = worker_registry(engine)

    async def liquidations(self, web: Web, request: Request) -> Response:
        """All assets."""
        return self._all(web, request, LIQUIDATION_VOLUME)

    async def liquidations_of_asset(self, web: Web, request: Request, asset: str) -> Response:
        """One asset."""
        limit = _window_limit(request)
        windows = windows_of(self._rows(), LIQUIDATION_VOLUME, asset)
        if not windows:
            return _json(web, {"error": "no liquidations of this asset are known", "asset": asset}, 404)
        return _json(web, {"asset": asset, "windows": newest(windows, self._sizes, limit)})

    async def imbalance(self, web: Web, request: Request) -> Response:
        """All markets."""
        return self._all(web, request, TRADE_IMBALANCE)

    async def imbalance_of_market(self, web: Web, request: Request, exchange: str, symbol: str) -> Response:
        """One market: all its channels, as two smallest volumes are never added together."""
        limit = _window_limit(request)
        found = [
            windows
            for name, windows in windows_by_key(self._rows(), TRADE_IMBALANCE).items()
            if isinstance(channel := parse_channel(name), TradeChannel)
            and (channel.exchange, channel.symbol) == (exchange, symbol)
        ]
        market = {"exchange": exchange, "symbol": symbol}
        if not found:
            return _json(web, {"error": "no trades of this market are known", **market}, 404)
        shown = in_order(window for windows in found for window in newest(windows, self._sizes, limit))
        return _json(web, {**market, "windows": shown})

    async def health(self, web: Web, request: Request) -> Response:
        """Liveness."""
        del request
        return _json(web, {"status": "ok"})

    async def ready(self, web: Web, request: Request) -> Response:
        """Readiness: state recovered, broker reached."""
        del request
        ready = self._engine.ready
        return _json(web, {"status": "ready" if ready else "recovering, or the broker is away"}, 200 if ready else 503)

    async def metrics(self, web: Web, request: Request) -> Response:
        """Prometheus."""
        del request
        return web.bytes(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _all(self, web: Web, request: Request, aggregate: Aggregate) -> Response:
        limit = _window_limit(request)
        by_key = windows_by_key(self._rows(), aggregate)
        shown = in_order(window for windows in by_key.values() for window in newest(windows, self._sizes, limit))
        return _json(web, {"windows": shown})

    def _rows(self) -> Rows:
        for source in self._engine.sources:
            yield from self._engine.rows(source)


def _window_limit(request: Request) -> int:
    """Read `?windows=N`; raises BadRequestError."""
    query = request.query
    unknown = query.keys() - {"windows"}
    if unknown:
        raise BadRequestError(f"no such parameter: {min(unknown)}; there is windows, from 1 to {WINDOWS_MAX}")
    text = query.get("windows", str(WINDOWS_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= WINDOWS_MAX):
        raise BadRequestError(f"windows must be a whole number from 1 to {WINDOWS_MAX}")
    return int(text)


def _json(web: Web, value: Any, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return web.bytes(msgspec.json.encode(value), content_type="application/json", status=status, headers=headers)
