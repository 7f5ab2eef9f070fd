"""What an answer about windows is, and how it is sent."""

from dataclasses import dataclass, replace

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Body:
    """A finished answer; `tag` is the same for the same content, and none where the content is of this moment alone."""

    content: bytes
    csv: bool
    tag: str | None
    stale_ms: int | None = None  # how old it is, where that has to be said


def aged(body: Body, stale_ms: int | None) -> Body:
    """Return the answer as one that says how old it is, where that has to be said.

    >>> aged(Body(b'{"windows":[]}', csv=False, tag="4-2"), 2_500)
    Body(content=b'{"windows":[],"stale_ms":2500}', csv=False, tag=None, stale_ms=2500)
    """
    if stale_ms is None:
        return body
    content = body.content if body.csv else b'%b,"stale_ms":%d}' % (body.content[:-1], stale_ms)
    return replace(body, content=content, tag=None, stale_ms=stale_ms)


def respond(request: web.Request, body: Body) -> web.Response:
    """Return the answer, or 304 to whoever has it already."""
    headers = {"Cache-Control": "no-cache", "Vary": "Accept, Authorization"}
    if body.stale_ms is not None:
        headers["X-Stale-Ms"] = str(body.stale_ms)  # in CSV there is no other place for it
    if body.tag is not None:
        headers["ETag"] = f'"{body.tag}"'
        if has_already(request, headers["ETag"]):
            return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "text/csv; charset=utf-8; header=present" if body.csv else "application/json"
    return web.Response(body=body.content, headers=headers)


def has_already(request: web.Request, etag: str) -> bool:
    """Whether who asks has what bears this tag, or takes whatever there is for what it has."""
    given = ",".join(request.headers.getall("If-None-Match", ()))
    return etag in given or given.strip() == "*"
