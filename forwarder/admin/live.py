"""Send the status to whoever watches it, as server-sent events: at once, then every two seconds if it changed.

The status is built and written down once for all who watch, and only while somebody does. A watcher that does
not read is not waited for: it misses what came meanwhile, and is dropped after a while. How many may watch is
limited, as each of them is an open connection.

Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): `status` has the document of
`GET /v1/status`; it also comes if nothing has changed for ten seconds, so silence means that the daemon is
gone. `problem` says why there is no status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from forwarder.admin.status import Status
from forwarder.errors import RequestError, TooManyWatchersError, UnavailableError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice

# Seconds between two looks. Whatever happens is to be seen within five.
_SECONDS: Final = 2.0
# After so many looks at a status that stays the same it is sent all the same.
_STILL: Final = 5
_MOST: Final = 32
# Long enough for a page on a bad line to catch up.
_UNREAD_SECONDS: Final = 15.0
# Seconds after which a browser connects again.
_RETRY_MS: Final = 2000


class _Problem(msgspec.Struct):
    """Why there is no status."""

    detail: str
    hint: str


class _Feed:
    """The status as one kind of watchers sees it, in the form in which it is sent."""

    def __init__(self, status: Callable[[], Awaitable[Status]], observer: Observer) -> None:
        self._status = status
        self._observer = observer
        self._before: object = None
        self._still = 0
        self.number = 0
        """Grows with each text."""
        self.text = b""
        self.watchers = 0
        self.changed = asyncio.Event()
        """Set once, when there is another text."""

    async def look(self) -> None:
        """Look at the status, and make another text if there is something to send."""
        said = await self._said()
        # The clock goes on in any case; a page can count by itself.
        same = msgspec.structs.replace(said, uptime_seconds=0.0) if isinstance(said, Status) else said
        if same == self._before and self._still < _STILL:
            self._still += 1
            return
        self._before, self._still = same, 0
        self.number += 1
        name = b"status" if isinstance(said, Status) else b"problem"
        self.text = b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(said))
        self.changed.set()
        self.changed = asyncio.Event()

    async def _said(self) -> Status | _Problem:
        """Return the status, or why there is none."""
        try:
            return await self._status()
        except UnavailableError as error:
            return _Problem(error.message, error.hint)
        except Exception as error:
            said = _Problem("the daemon failed to answer", "its log has the traceback")
            if said != self._before:
                self._observer.saw(Notice("admin.failed", {"method": "GET", "path": "/v1/live"}, error))
            return said


class Live:
    """All who watch one daemon.

    `status` returns the status for those who see the contents of events, or do not. It is looked at every `seconds`,
    and a watcher may leave it unread for `unread_seconds` once its buffer is full.
    """

    def __init__(
        self,
        status: Callable[[bool], Awaitable[Status]],
        observer: Observer,
        *,
        seconds: float = _SECONDS,
        unread_seconds: float = _UNREAD_SECONDS,
    ) -> None:
        self._seconds = seconds
        self._unread_seconds = unread_seconds
        self._feeds = {sees: _Feed(partial(status, sees), observer) for sees in (True, False)}
        self._looking: asyncio.Task[None] | None = None
        self._watchers: dict[asyncio.Task[None], object] = {}

    async def watch(
        self, request: web.Request, place: object, *, sees_events: bool, check: Callable[[], Awaitable[object]]
    ) -> web.StreamResponse:
        """Send the status until the client leaves, `check` refuses it or its `place` is closed.

        Raises TooManyWatchersError.
        """
        if len(self._watchers) >= _MOST:
            raise TooManyWatchersError(f"{_MOST} pages watch already")
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        await response.prepare(request)
        sending = asyncio.create_task(self._send(response, self._feeds[sees_events], check), name="live")
        self._watchers[sending] = place
        try:
            await sending
        except (TimeoutError, ConnectionResetError, RequestError):
            # It does not read, has gone, or may not look any more: what it was sent ends in the middle.
            if request.transport is not None:
                request.transport.abort()
        except asyncio.CancelledError:
            sending.cancel()
            # Only its place was closed, unless this handler was cancelled itself.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        finally:
            del self._watchers[sending]
            if not self._watchers and self._looking is not None:
                self._looking.cancel()
                self._looking = None
        return response

    def close(self, place: object) -> None:
        """End all streams of a place."""
        for sending, where in self._watchers.items():
            if where is place:
                sending.cancel()

    async def _send(self, response: web.StreamResponse, feed: _Feed, check: Callable[[], Awaitable[object]]) -> None:
        feed.watchers += 1
        try:
            await self._write(response, b"retry: %d\n\n" % _RETRY_MS)
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(), name="live-look")
            # The last text may be old, if nobody has watched since.
            await feed.look()
            sent = feed.number - 1
            while True:
                changed = feed.changed
                if feed.number != sent:
                    sent = feed.number
                    await check()
                    await self._write(response, feed.text)
                await changed.wait()
        finally:
            feed.watchers -= 1

    async def _write(self, response: web.StreamResponse, text: bytes) -> None:
        async with asyncio.timeout(self._unread_seconds):
            await response.write(text)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            for feed in self._feeds.values():
                if feed.watchers:
                    await feed.look()
