"""The dashboard's files over HTTP."""

from collections.abc import Awaitable, Callable, Mapping
from importlib import resources

from faust.web.base import Request, Response, Web

Handler = Callable[..., Awaitable[Response]]

_ASSETS = {"": "text/html", "dashboard.js": "text/javascript", "dashboard.css": "text/css"}
_CONTENT_SECURITY_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"


def asset_pages() -> Mapping[str, Handler]:
    """Return a handler for each path of the dashboard."""
    return {f"/{name}": _asset(name, content_type) for name, content_type in _ASSETS.items()}


def _asset(name: str, content_type: str) -> Handler:
    content = resources.files("processors.views").joinpath("dashboard", name or "index.html").read_bytes()

    async def serve(web: Web, request: Request) -> Response:
        del request
        headers = {
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        return web.bytes(content, headers=headers)

    return serve
