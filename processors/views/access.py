"""Who may ask, and what every answer says about itself."""

import hmac
from collections.abc import Container, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from processors.views.problems import Problem

#: What a browser must not do with an answer.
HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(token: str | None, open_to_all: Container[str]) -> Middleware:
    """Return what every request passes: asks for the token except on some routes, and turns errors into JSON."""
    wanted = None if token is None else token.encode()

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if wanted is not None and _route(request) not in open_to_all and not _bears(request, wanted):
            response: web.StreamResponse = _error(
                HTTPStatus.UNAUTHORIZED,
                {"error": "a token is needed: Authorization: Bearer …"},
                {"WWW-Authenticate": 'Bearer realm="coinglass-streams"'},
            )
        else:
            try:
                response = await handler(request)
            except Problem as problem:
                response = _error(problem.status, problem.body, problem.headers)
            except web.HTTPException as error:  # no such route, or not with this method
                allowed = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
                response = _error(error.status, {"error": error.reason}, allowed)
        if not response.prepared:  # a stream is over by now, and had them from the start
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return guarded


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _bears(request: web.Request, wanted: bytes) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(errors="surrogateescape"), wanted)


def _error(status: int, body: Mapping[str, object], more: Mapping[str, str]) -> web.Response:
    headers = {"Cache-Control": "no-store", **more}
    content = msgspec.json.encode(body)
    return web.Response(body=content, status=status, content_type="application/json", headers=headers)
