"""The dead letters over HTTP: listed, grouped, replayed, purged, and replayed with another text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web

from forwarder.admin.acts import acting, filter_of
from forwarder.admin.dead import encode_letter, parse_body, parse_query
from forwarder.admin.entrance import Rights
from forwarder.admin.status import utc
from forwarder.admin.steering import Readmission
from forwarder.admin.stream import stream_lines
from forwarder.errors import MalformedError, NotConfiguredError
from forwarder.model import INVALID, DeadFilter, DeadGroup, State
from forwarder.observe.base import Observer
from forwarder.queue.base import Inspection

# Grouping looks at every row of the dead letters. It is not done again before so many times as long have passed as it
# took, so that a page that asks all the time costs little, also where there are millions of them.
_REST: Final = 50


class GroupState(msgspec.Struct):
    """Dead letters of one destination that died of the same."""

    destination: str
    reason: str
    status: int | None
    detail: str | None
    """The words that they have in common; null where they differ, and for viewers."""
    events: int
    first: datetime
    last: datetime


class Edited(msgspec.Struct, forbid_unknown_fields=True):
    """Which letter, and its event as it should be: JSON, or that JSON as a string, to keep how numbers are written."""

    destination: str
    id: int
    event: msgspec.Raw


class Letters:
    """The dead letters of one daemon.

    `state_of` returns the state of a destination or raises UnknownDestinationError; `now` returns seconds since the
    epoch.
    """

    def __init__(
        self,
        queue: Inspection,
        observer: Observer,
        readmission: Readmission,
        state_of: Callable[[str], Awaitable[State]],
        now: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._readmission = readmission
        self._state_of = state_of
        self._now = now
        self._groups = _Grouping(queue)

    async def list(self, request: web.Request, _rights: Rights) -> web.StreamResponse:
        wanted, limit = parse_query([*request.query.items()], self._now())
        await self._check(wanted)
        return await stream_lines(self._observer, request, self._lines(wanted, limit))

    async def _lines(self, wanted: DeadFilter, limit: int | None) -> AsyncIterator[bytes]:
        async for letter in self._queue.dead_letters(wanted, limit):
            yield encode_letter(letter)

    async def groups(self, _request: web.Request, rights: Rights) -> web.Response:
        groups = await self._groups.now()
        return _json([_told(group, sees_events=rights.sees_events) for group in groups])

    async def replay(self, request: web.Request, _rights: Rights) -> web.Response:
        wanted = parse_body(await request.read(), self._now())
        await self._check(wanted)
        with acting(self._observer, request, "replay", filter=filter_of(wanted)) as outcome:
            outcome["replayed"] = await self._queue.replay(wanted) + await self._readmission.again(wanted)
        return _json(outcome)

    async def purge(self, request: web.Request, _rights: Rights) -> web.Response:
        wanted = parse_body(await request.read(), self._now())
        await self._check(wanted)
        with acting(self._observer, request, "purge_dead", filter=filter_of(wanted)) as outcome:
            outcome["dropped"] = await self._queue.purge_dead(wanted)
        return _json(outcome)

    async def edit(self, request: web.Request, _rights: Rights) -> web.Response:
        try:
            edited = msgspec.json.decode(await request.read(), type=Edited)
            event = bytes(edited.event)
            if event.startswith(b'"'):
                event = msgspec.json.decode(event, type=str).encode()
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            hint = 'send {"destination": NAME, "id": NUMBER, "event": {…}}'
            raise MalformedError(f"the edited event cannot be read: {error}", hint=hint) from None
        name = edited.destination
        if name != INVALID and await self._state_of(name) is State.REMOVED:
            raise NotConfiguredError(f"destination {name!r} is no longer configured", hint="configure it again")
        with acting(self._observer, request, "edit", destination=name, id=edited.id) as outcome:
            await self._readmission.edited(name, edited.id, event)
            outcome["edited"] = 1
        return _json(outcome)

    async def _check(self, wanted: DeadFilter) -> None:
        if wanted.destination is not None and wanted.destination != INVALID:
            await self._state_of(wanted.destination)


class _Grouping:
    """Groups the dead letters of a queue when they may have changed, and not too often."""

    def __init__(self, queue: Inspection) -> None:
        self._queue = queue
        self._of: object = None
        self._groups = list[DeadGroup]()
        self._rested = float("-inf")

    async def now(self) -> list[DeadGroup]:
        stats = await self._queue.stats()
        # Letters only come and go with these counts.
        counts = {
            name: (found.dead, found.died, found.replayed, found.dropped) for name, found in stats.destinations.items()
        }
        began = time.monotonic()
        if counts != self._of and began >= self._rested:
            # Whoever asks meanwhile gets the groups of before.
            self._of, self._rested = counts, float("inf")
            try:
                self._groups = [*await self._queue.dead_groups()]
            except BaseException:
                self._of = None
                raise
            finally:
                ended = time.monotonic()
                self._rested = ended + (ended - began) * _REST
        return self._groups


def _told(group: DeadGroup, *, sees_events: bool) -> GroupState:
    return GroupState(
        group.destination,
        group.reason,
        group.status,
        group.detail if sees_events else None,
        group.events,
        utc(group.first),
        utc(group.last),
    )


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
