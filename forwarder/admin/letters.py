"""The dead letters over HTTP: listed, grouped, replayed, purged, and replayed with another text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
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
from forwarder.model import INVALID, DeadFilter, DeadGroup, QueueStats, State
from forwarder.observe.base import Observer
from forwarder.queue.base import Inspection
from forwarder.queue.finding import Groups

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
        return _json([_told(group) for group in (groups if rights.sees_events else _without_answers(groups))])

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
    """Groups the dead letters of a queue when they have changed, and not too often."""

    def __init__(self, queue: Inspection) -> None:
        self._queue = queue
        self._of: object = None
        """Which letters the groups are of."""
        self._groups: list[DeadGroup] | None = None
        self._rested = float("-inf")
        self._grouping: asyncio.Task[list[DeadGroup]] | None = None

    async def now(self) -> list[DeadGroup]:
        """Return the groups; whoever asks while they are being made waits for them."""
        of = _letters_of(await self._queue.stats())
        if self._grouping is None:
            if self._groups is not None and (of == self._of or time.monotonic() < self._rested):
                return self._groups
            self._grouping = asyncio.create_task(self._group(of))
            self._grouping.add_done_callback(self._end)
        # A client that goes away does not take the groups from the others.
        return await asyncio.shield(self._grouping)

    async def _group(self, of: object) -> list[DeadGroup]:
        began = time.monotonic()
        groups = [*await self._queue.dead_groups()]
        ended = time.monotonic()
        # What changed meanwhile makes the next who asks group them again.
        self._of, self._groups, self._rested = of, groups, ended + (ended - began) * _REST
        return groups

    def _end(self, grouping: asyncio.Task[list[DeadGroup]]) -> None:
        self._grouping = None
        # Whoever waits is told of a failure. Where nobody waits any more, asyncio need not report it either.
        if not grouping.cancelled():
            grouping.exception()


def _letters_of(stats: QueueStats) -> object:
    """Return what is another value as soon as there are other letters: numbers rise with those that come."""
    return stats.last_letter, {name: found.dead for name, found in stats.destinations.items()}


def _without_answers(groups: Sequence[DeadGroup]) -> list[DeadGroup]:
    """Return the groups as viewers see them: what differed in its words alone is one group."""
    found = Groups()
    for group in groups:
        found.add(replace(group, detail=None))
    return found.largest()


def _told(group: DeadGroup) -> GroupState:
    first, last = utc(group.first), utc(group.last)
    return GroupState(group.destination, group.reason, group.status, group.detail, group.events, first, last)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
