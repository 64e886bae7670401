"""Answer with newline-delimited JSON of any length, in constant memory.

An error before the first line is answered with a status of its own. After that it is too late for one,
so the connection is cut in the middle of the chunked body, which no client can mistake for the whole
answer (RFC 9112 §8).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from aiohttp import web

from forwarder.errors import ForwarderError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice

NDJSON = "application/x-ndjson"
# Writing each line by itself would take a system call each; so several are written at once.
_WRITE_BYTES = 64 * 1024


async def stream_lines(observer: Observer, request: web.Request, lines: AsyncIterator[bytes]) -> web.StreamResponse:
    """Write each item, which has no newlines, as a line. Errors before the first item are raised."""
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
        # The client has read enough, as when the output is piped to `head`.
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
