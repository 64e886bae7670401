"""An HTTP API's OpenAPI description, as it is served: the file `openapi.json` beside the code, with the version.

Where no token is configured, it says nothing of one.
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
