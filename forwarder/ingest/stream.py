"""Events over a stream socket: clients send one event a line, and get acks and refusals.

`{"ack": n}` says that the first n lines of the connection are settled: stored and synced, or refused.
`{"refused": n, "status": …, "detail": …}` says that line n was not stored, and comes before the ack that
covers it; line 0 means the connection itself, which then ends. Blank lines and the line with the token
are not counted. While one piece of lines is being committed, the next is read and checked, but no more
than that: a client that sends faster than the disk can write is held back by its own socket, and so is
every client while the queue is full.

A client that does not read its acks takes no memory: acks are cumulative, so only the latest is kept.
A client that does not read its refusals is no longer read from. If a client is gone, its complete lines
are stored all the same, unless they would have to wait for space. Those are dropped: they were never
acked, so the client will send them again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from forwarder.ingest.connection import Connection, Stop
from forwarder.ingest.intake import Intake
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom
from forwarder.web.listening import BACKLOG, Listener

# The most seconds that a stop spends on reading from TCP clients that are never quiet, on waiting for a full queue, and
# in total.
_READ_SECONDS = 2.0
_STORE_SECONDS = 3.0
_STOP_SECONDS = 6.0


class StreamIntake:
    """The stream side of the intake. `max_event_bytes` limits the size of an event."""

    def __init__(self, intake: Intake, *, max_event_bytes: int) -> None:
        self.intake = intake
        self.max_event_bytes = max_event_bytes
        self.headroom = Headroom("stream", intake.observer)
        self.stopping: Stop | None = None
        """None until a stop begins."""
        self._running: dict[Connection, asyncio.Task[None]] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._running)

    @property
    def max_line_bytes(self) -> int:
        """The longest line that is checked: the longest event, and the carriage return of a CRLF."""
        return self.max_event_bytes + 1

    async def serve(self, listener: Listener, access: Access) -> asyncio.Server:
        """Serve a listener until `close`."""
        loop = asyncio.get_running_loop()
        if listener.address.is_unix:
            create = loop.create_unix_server
            return await create(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)
        return await loop.create_server(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)

    async def close(self, server: asyncio.Server, listener: Listener, access: Access) -> None:
        """Stop listening, but let in the clients that have connected and are waiting to be accepted."""
        with listener.socket.dup() as ours:
            server.close()
            listener.close()
            for _ in range(BACKLOG):
                try:
                    accepted, _address = ours.accept()
                except OSError:
                    break
                accepted.setblocking(False)
                loop = asyncio.get_running_loop()
                with suppress(OSError):
                    await loop.connect_accepted_socket(lambda: Connection(self, access), accepted)

    def began(self, connection: Connection) -> None:
        self._running[connection] = asyncio.create_task(connection.run(), name="stream-connection")
        if self.stopping is not None:
            connection.stop(self.stopping)

    def ended(self, connection: Connection) -> None:
        self._running.pop(connection, None)

    async def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Settle and ack what clients have sent and close their connections, within so many seconds."""
        loop = asyncio.get_running_loop()
        now, part = loop.time(), min(1.0, seconds / _STOP_SECONDS)
        self.stopping = Stop(now + part * _READ_SECONDS, now + part * _STORE_SECONDS)
        for connection in list(self._running):
            connection.stop(self.stopping)
        if self._running:
            _done, stuck = await asyncio.wait(list(self._running.values()), timeout=part * _STOP_SECONDS)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck)
