"""The dashboard's files over HTTP: ours from this package, the charts' script from the installed plotly."""

import importlib.util
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from processors.views.bodies import has_already

FOLDER = Path(__file__).parent / "dashboard"
CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

#: Nothing but our own files and answers: no inline script or style, no eval, no other host, no frame, no form's target;
#: and no text may become markup or script (trusted types). Plotly's bars and lines work with all of it; its heat maps,
#: its button bar and the style sheet it makes for itself would not.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def asset_pages() -> Mapping[str, Handler]:
    """Return a handler for each path of the dashboard: `/`, and `/dashboard/…` for what the page loads.

    They hold no data: all that the page shows it asks the other routes for.
    """
    ours = sorted(file for file in FOLDER.iterdir() if file.suffix in CONTENT_TYPES)
    pages = {"/" if file.name == "index.html" else f"/dashboard/{file.name}": _Asset(file) for file in ours}
    pages["/dashboard/plotly.min.js"] = _Asset(_plotly_script(), cache="public, max-age=86400")
    return {path: asset.serve for path, asset in pages.items()}


def _plotly_script() -> Path:
    found = importlib.util.find_spec("plotly")  # not imported: the script is all we want of it
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


class _Asset:
    """One file; read when it is first asked for."""

    def __init__(self, file: Path, cache: str = "no-cache") -> None:
        self._file, self._cache = file, cache

    @cached_property
    def _content(self) -> bytes:
        return self._file.read_bytes()

    @cached_property
    def _etag(self) -> str:
        # Of the content: all files of a wheel bear the same time.
        return f'"{blake2b(self._content, digest_size=12).hexdigest()}"'

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a GET; 304 to whoever has it already."""
        headers = {
            "Cache-Control": self._cache,
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "ETag": self._etag,
        }
        if has_already(request, self._etag):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = f"{CONTENT_TYPES[self._file.suffix]}; charset=utf-8"
        return web.Response(body=self._content, headers=headers)
