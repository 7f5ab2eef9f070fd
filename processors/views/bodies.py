"""What an answer about windows is, and how it is sent."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Body:
    """A finished answer; `tag` is the same for the same content, and none where the content is of this moment alone."""

    content: bytes
    csv: bool
    tag: str | None


def aged(body: Body, stale_ms: int | None) -> Body:
    """Return the answer as one that says how old it is, where that has to be said; CSV has no place for it.

    >>> aged(Body(b'{"windows":[]}', csv=False, tag="4-2"), 2_500)
    Body(content=b'{"windows":[],"stale_ms":2500}', csv=False, tag=None)
    """
    if stale_ms is None:
        return body
    return Body(body.content if body.csv else b'%b,"stale_ms":%d}' % (body.content[:-1], stale_ms), body.csv, tag=None)


def respond(request: web.Request, body: Body) -> web.Response:
    """Return the answer, or 304 to whoever has it already."""
    headers = {"Cache-Control": "no-cache", "Vary": "Accept, Authorization"}
    if body.tag is not None:
        headers["ETag"] = f'"{body.tag}"'
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "text/csv; charset=utf-8; header=present" if body.csv else "application/json"
    return web.Response(body=body.content, headers=headers)
