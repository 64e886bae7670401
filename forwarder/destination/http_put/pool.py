"""Idle connections, to be used again.

The one that was used last goes first, so that the others grow old and are closed. A connection is not used
again when it has been idle for longer than servers keep one, when it is older than `max_age` (a new one leads
to the address that the name has by then), or when it was opened before `renew`.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from forwarder.destination.http_put.connection import Connection
from forwarder.waiting import wait_at_most

# Seconds for which an idle connection is kept: less than common servers and proxies keep theirs
# (nginx: 75), so that we close it before a request finds it closed.
_IDLE_SECONDS = 15.0
# Seconds in which connections may end in good order when the pool is closed; then they are aborted.
_CLOSING_SECONDS = 1.0


class _Idle(NamedTuple):
    connection: Connection
    until: float


class Pool:
    """Keeps idle connections, and knows of every open one from `add` until it is `lost`."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._idle: list[_Idle] = []
        # Every open connection, with the generation in which opening it began.
        self._open: dict[Connection, int] = {}
        self.generation = 0
        """Counts renewals; a connection of an earlier generation is not used again."""
        self._timer: asyncio.TimerHandle | None = None
        self._all_lost = asyncio.Event()

    async def take(self) -> Connection | None:
        """Return a connection that can be used; None if there is none."""
        now = asyncio.get_running_loop().time
        while self._idle:
            connection, until = self._idle.pop()
            if now() < until and await connection.is_silent():
                return connection
            connection.close()
        return None

    def add(self, connection: Connection, generation: int) -> None:
        """Take note of an open connection; `generation` is the one in which opening it began."""
        if not connection.is_closed:
            self._open[connection] = generation

    def keep(self, connection: Connection, idle_seconds: float | None) -> None:
        """Take a connection back, to be used again; `idle_seconds` is how long the server says that it keeps one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Half of it: the server counts from its answer, and the next request takes its time to arrive.
        idle = _IDLE_SECONDS if idle_seconds is None else min(_IDLE_SECONDS, idle_seconds / 2)
        until = min(now + idle, connection.opened_at + self._max_age)
        if until <= now or self._open.get(connection) != self.generation:
            connection.close()
            return
        self._idle.append(_Idle(connection, until))
        if self._timer is None:
            self._timer = loop.call_at(until, self._close_old)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        self._idle = [idle for idle in self._idle if idle.connection is not connection]
        if not self._open:
            self._all_lost.set()

    def renew(self) -> None:
        """Use none of the present connections for another request."""
        self.generation += 1
        for idle in self._idle:
            idle.connection.close()
        self._idle.clear()

    async def close(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
        self._idle.clear()
        for connection in tuple(self._open):
            connection.close()
        while self._open:
            self._all_lost.clear()
            await wait_at_most(_CLOSING_SECONDS, self._all_lost)
            for connection in tuple(self._open):
                connection.abort()

    def _close_old(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        now = loop.time()
        old = [idle for idle in self._idle if idle.until <= now]
        self._idle = [idle for idle in self._idle if idle.until > now]
        for idle in old:
            idle.connection.close()
        if self._idle:
            self._timer = loop.call_at(min(idle.until for idle in self._idle), self._close_old)
