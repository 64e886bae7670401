"""Serve the dashboard: the files of the folder `page`, which load nothing from anywhere else.

What an answer may do in a browser is decided here for all of the API: nothing but show our own page. No code
or style stands inside the document, no other site may frame or embed anything, and nothing is kept by caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import hdrs, web

from forwarder.admin.entrance import Rights

_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    # No text becomes HTML by accident (https://w3c.github.io/trusted-types/dist/spec/).
    "require-trusted-types-for": "'script'",
}
SAFE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-store",
}
_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "woff2": "font/woff2",
}
_START: Final = "index.html"


def load(folder: Traversable) -> Mapping[str, tuple[bytes, str]]:
    """Return the content and the type of each file of a page, by their names; files of other types are not served."""
    found = {entry.name: entry for entry in folder.iterdir() if entry.is_file()} if folder.is_dir() else {}
    types = {name: _TYPES.get(name.rpartition(".")[2]) for name in found}
    return {name: (found[name].read_bytes(), kind) for name, kind in types.items() if kind is not None}


class Page:
    """The files of a folder, which are read once."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or files("forwarder.admin") / "page"
        self._files: Mapping[str, tuple[bytes, str]] | None = None

    async def start(self, _request: web.Request, _rights: Rights) -> web.Response:
        return self._file(_START)

    async def file(self, request: web.Request, _rights: Rights) -> web.Response:
        return self._file(request.match_info["name"])

    def _file(self, name: str) -> web.Response:
        if self._files is None:
            self._files = load(self._folder)
        if name not in self._files:
            raise web.HTTPNotFound
        body, kind = self._files[name]
        charset = "utf-8" if kind.startswith("text/") else None
        return web.Response(body=body, content_type=kind, charset=charset)


async def make_safe(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has."""
    response.headers.update(SAFE_HEADERS)
