"""Serve the OpenAPI description of an API: the file `openapi.json` in its package, with our version filled in.

If no token is configured, the description does not mention any.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec
from aiohttp import web

from forwarder import __version__


@cache
def describe(package: str, *, wants_token: bool) -> bytes:
    """Return the description of the API in a package, as JSON."""
    found = msgspec.json.decode((files(package) / "openapi.json").read_bytes())
    found["info"]["version"] = __version__
    if not wants_token:
        del found["security"], found["components"]["securitySchemes"]
    return msgspec.json.encode(found)


def description_response(package: str, *, wants_token: bool) -> web.Response:
    """Build the answer to `GET /openapi.json`."""
    return web.Response(body=describe(package, wants_token=wants_token), content_type="application/json")
