"""Store requests that arrive at the same moment together, and answer each of them separately.

Storing one event takes as long as storing a hundred, and the overhead of a request exceeds the work for its
event. So the requests that the event loop reads in one turn, on any connections, are checked and stored
together. If something is wrong with one of the events, that event is stored alone or refused, so that no
request fails because of another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, cast

from aiohttp import hdrs, web

from forwarder.envelope import Checked, Refused
from forwarder.errors import QueueFullError, TooLargeError
from forwarder.ingest.admission import Admission
from forwarder.ingest.intake import Intake, accepted
from forwarder.ingest.media import Kind, check, look, takes_long
from forwarder.observe.facts import Notice, Peer
from forwarder.problems import TOLD
from forwarder.web.problems import internal_problem, problem_of

# The longest body in bytes: checking one of this size does not yet hold up the event loop.
_MAX_BODY = 64 * 1024
# With these errors the queue has stored nothing, but what does not fit together may fit one by one.
_FIT_ALONE = (QueueFullError, TooLargeError)


class Client(Protocol):
    """Who sent a request, and reads the answer."""

    def answer(self, data: bytes) -> None:
        """Send the bytes of the response."""

    @property
    def peer(self) -> Peer: ...


class Request(NamedTuple):
    """One event, or an array of them, to be stored for a client."""

    body: bytes
    client: Client


class Coalescer:
    """Gathers the requests of one turn of the event loop, and stores single events together."""

    def __init__(self, intake: Intake, admission: Admission) -> None:
        self._intake = intake
        self._admission = admission
        self._gathered: list[Request] = []
        self._storing: set[asyncio.Task[None]] = set()
        # Bodies that take long are checked in a thread, one at a time, so that they never take the whole machine.
        self._working = asyncio.Semaphore(1)
        self.max_body = _MAX_BODY
        """The longest body in bytes."""

    def limit(self, max_request_bytes: int) -> None:
        """Do not serve bodies over the limit here; `http` refuses them, and says why."""
        self.max_body = min(_MAX_BODY, max_request_bytes)

    @property
    def wants_traces(self) -> bool:
        """Whether requests that belong to a trace are served by `http`, which knows what to do with it."""
        return self._intake.wants_traces

    def add(self, request: Request) -> None:
        """Take a request, whose client is answered when it is stored or refused."""
        if not self._gathered:
            # The callback runs in the next turn of the loop, after every socket that is readable now has been read.
            asyncio.get_running_loop().call_soon(self._begin)
        self._gathered.append(request)

    def _begin(self) -> None:
        requests, self._gathered = self._gathered, []
        arrays = [request for request in requests if request.body[:1] == b"["]
        events = [request for request in requests if request.body[:1] != b"["] if arrays else requests
        if events:
            self._start(self._store(events))
        for request in arrays:
            self._start(self._store_alone(request))

    def _start(self, storing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(storing, name="express")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def finish(self, timeout: float | None) -> None:
        """Wait until all requests taken so far are answered."""
        if self._gathered:
            await asyncio.sleep(0)
        if self._storing:
            await asyncio.wait(self._storing, timeout=timeout)

    async def _store(self, requests: list[Request]) -> None:
        if len(requests) > 1:
            requests = await self._store_together(requests)
        if len(requests) == 1:
            await self._store_alone(requests[0])
        elif requests:
            await asyncio.gather(*map(self._store_alone, requests))

    async def _store_together(self, requests: list[Request]) -> list[Request]:
        """Store the good events and answer their requests; return the other requests, of which nothing is stored."""
        lines = b"\n".join([*[request.body for request in requests], b""])
        try:
            with self._admission.taken(len(lines)):
                checked, refused, unseen = self._intake.envelope.sift(lines)
                if unseen or checked.events + len(refused) != len(requests):
                    return requests
                if not refused:
                    return await self._store_checked(requests, checked)
                bad = {refusal.index for refusal in refused}
                good = [request for index, request in enumerate(requests) if index not in bad]
                return [*await self._store_checked(good, checked), *[requests[index] for index in sorted(bad)]]
        except Exception:
            # Nothing is stored yet. When the requests are tried one by one, only the one to blame fails again, and its
            # client is told why.
            return requests

    async def _store_checked(self, requests: list[Request], checked: Checked) -> list[Request]:
        """Store checked events and answer; return those to try one by one, with the ids that they were given."""
        try:
            await self._intake.accept("http", checked)
        except _FIT_ALONE:
            # Keep the ids that were given: an event that is tried again is the same event.
            lines = checked.data.split(b"\n")
            return [request._replace(body=line) for request, line in zip(requests, lines, strict=False)]
        except Exception as error:
            # The failure may have come after the commit, so trying again could store the events twice.
            answer = self._refused(error, requests)
        else:
            answer = _accepted(int(time.time()), 1)
        for request in requests:
            request.client.answer(answer)
        return []

    async def _store_alone(self, request: Request) -> None:
        try:
            with self._admission.taken(len(request.body)):
                checked, invalid = await self._accept(request.body)
        except Exception as error:
            answer = self._refused(error, [request])
        else:
            body = accepted(checked, invalid) if invalid else None
            answer = _accepted(int(time.time()), checked.events) if body is None else _as_bytes(_response(body))
        request.client.answer(answer)

    async def _accept(self, body: bytes) -> tuple[Checked, list[Refused]]:
        """Store the events of a request; return them, and the refused texts that were kept as invalid."""
        envelope = self._intake.envelope
        # Nearly every body passes the quick check, which never takes long.
        if (glanced := envelope.glance(body, are_lines=False)) is not None:
            await self._intake.accept("http", glanced)
            return glanced, []
        examine = partial(look, envelope, Kind.JSON, body, keeps_invalid=self._intake.keeps_invalid)
        if not takes_long(Kind.JSON, body):
            checked, invalid = examine()
        else:
            async with self._working:
                checked, invalid = await asyncio.to_thread(examine)
        await self._intake.accept_or("http", checked, invalid, partial(check, envelope, Kind.JSON, body))
        return checked, invalid

    def _refused(self, error: Exception, requests: list[Request]) -> bytes:
        """Return the answer to requests of which nothing is stored, or of which it is unknown whether they are."""
        if isinstance(error, TOLD):
            for request in requests:
                self._intake.refused("http", error, request.client.peer)
            return _as_bytes(problem_of(error))
        self._intake.observer.saw(Notice("intake.failed", {"path": "/v1/events"}, error))
        return _as_bytes(internal_problem())


@lru_cache(maxsize=16)
def _accepted(now: int, events: int) -> bytes:
    """Return the answer for so many stored events; `now` is in whole seconds, so that answers can be cached."""
    return _as_bytes(_response(b'{"accepted": %d}' % events), now)


def _response(body: bytes) -> web.Response:
    return web.Response(status=202, body=body, content_type="application/json")


def _as_bytes(response: web.Response, now: float | None = None) -> bytes:
    """Return a response as the bytes that are sent."""
    body = cast("bytes", response.body)
    fields = {**response.headers, hdrs.CONTENT_LENGTH: str(len(body)), hdrs.DATE: formatdate(now, usegmt=True)}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *[f"{name}: {value}" for name, value in fields.items()]]
    return "\r\n".join([*lines, "", ""]).encode() + body
