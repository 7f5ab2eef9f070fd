"""Who may ask, for how long, and what every answer says about itself."""

import asyncio
import hmac
from collections.abc import Container
from http import HTTPStatus

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from processors.views.problems import BusyError, Problem

#: How long an answer may take; a stream of events lasts as long as its reader.
REQUEST_SECONDS_MAX = 15.0
WITHOUT_END = "/events"

_HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(token: str | None, open_to_all: Container[str]) -> Middleware:
    """Return what every request passes: asks for the token except on some routes, and turns errors into JSON."""
    wanted = None if token is None else f"Bearer {token}".encode()

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = "" if resource is None else resource.canonical
        if wanted is not None and path not in open_to_all:
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not hmac.compare_digest(given, wanted):
                headers = {"WWW-Authenticate": 'Bearer realm="coinglass-streams"'}
                return _said("a token is needed: Authorization: Bearer …", HTTPStatus.UNAUTHORIZED, headers)
        try:
            async with asyncio.timeout(None if path == WITHOUT_END else REQUEST_SECONDS_MAX):
                return await handler(request)
        except Problem as problem:
            return answer(problem)
        except TimeoutError:
            late = f"the answer would take longer than {REQUEST_SECONDS_MAX:.0f} s: ask for less, or later"
            return answer(BusyError(late, retry_after_seconds=5))
        except web.HTTPException as error:  # no such route, or not with this method
            headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
            return _said(error.reason, HTTPStatus(error.status), headers)

    return guarded


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Say what a browser must not do with an answer."""
    del request
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def answer(problem: Problem) -> web.Response:
    """Return a problem as a response."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    body = msgspec.json.encode(problem.body)
    return web.Response(body=body, status=problem.status, content_type="application/json", headers=headers)


def _said(error: str, status: HTTPStatus, headers: dict[str, str]) -> web.Response:
    response = web.json_response({"error": error}, status=status, headers={"Cache-Control": "no-store", **headers})
    response.charset = None
    return response
