"""Answer with newline-delimited JSON of any length in flat memory.

What fails before the first line is an answer with its own status. What fails later cannot be:
the connection is cut in the middle of the chunked body, so that no client takes the part for
the whole (RFC 9112 §8).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from aiohttp import web

from forwarder.errors import ForwarderError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice

NDJSON = "application/x-ndjson"
# One write a line would cost a system call each; a few pages at once keep both sides busy.
_WRITE_BYTES = 64 * 1024


async def stream_lines(observer: Observer, request: web.Request, lines: AsyncIterator[bytes]) -> web.StreamResponse:
    """Write each item as a line; the items hold no newlines. Raises what comes before the first of them."""
    response = web.StreamResponse()
    response.content_type = NDJSON
    try:
        first = await anext(lines, None)
        await response.prepare(request)
        if first is not None:
            await _write(response, first, lines)
        await response.write_eof()
    except ForwarderError as error:
        if not response.prepared:
            raise
        observer.saw(Notice("admin.stream_cut", {"path": request.path, "error": error.message}))
        if request.transport is not None:
            request.transport.abort()
    except ConnectionResetError:
        # The client has seen enough, as `head` does.
        pass
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
    return response


async def _write(response: web.StreamResponse, first: bytes, lines: AsyncIterator[bytes]) -> None:
    held = bytearray(first + b"\n")
    async for line in lines:
        held += line
        held += b"\n"
        if len(held) >= _WRITE_BYTES:
            await response.write(bytes(held))
            held.clear()
    if held:
        await response.write(bytes(held))
