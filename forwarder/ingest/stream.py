"""Events over a stream socket: one a line in, acks and refusals out.

`{"ack": n}` says that the first n lines of the connection are settled: stored and synced, or
refused. `{"refused": n, "status": …, "detail": …}` says that line n was not stored, and comes before
the ack that covers it; line 0 is the connection itself, which ends with that. Blank lines do not
count, nor does the line with the token. While one piece of lines is being committed the next is
read and checked, and no more: a client that sends faster than the disk takes waits in its own
socket, and so does every client while the queue is full.

A client that does not read its acks costs nothing: acks are cumulative, so only the last one is
kept for it; a client that does not read its refusals is not read from. Whole lines of a client
that is gone are stored like any others, unless they would have to wait for space: nobody has been
told of them, and a client that comes again brings them again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from forwarder.ingest.connection import Connection, Stop
from forwarder.ingest.intake import Intake
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom
from forwarder.web.listening import BACKLOG, Listener

# Seconds that a stop takes at most: to read from TCP clients that are never quiet, to wait for a queue that is full,
# and all in all.
_READ_SECONDS = 2.0
_STORE_SECONDS = 3.0
_STOP_SECONDS = 6.0


class StreamIntake:
    """The stream side of the intake. `max_event_bytes` bounds an event."""

    def __init__(self, intake: Intake, *, max_event_bytes: int) -> None:
        self.intake = intake
        self.max_event_bytes = max_event_bytes
        self.headroom = Headroom("stream", intake.observer)
        self.stopping: Stop | None = None
        """Set from the moment on in which the stop begins."""
        self._running: dict[Connection, asyncio.Task[None]] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._running)

    @property
    def max_line_bytes(self) -> int:
        """The longest line that is looked at: an event, and the carriage return of a CRLF."""
        return self.max_event_bytes + 1

    async def serve(self, listener: Listener, access: Access) -> asyncio.Server:
        """Serve at a listener, up to `close`."""
        loop = asyncio.get_running_loop()
        if listener.address.is_unix:
            create = loop.create_unix_server
            return await create(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)
        return await loop.create_server(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)

    async def close(self, server: asyncio.Server, listener: Listener, access: Access) -> None:
        """Listen no more; clients that have connected already, and have not been accepted yet, are let in."""
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
        """Settle what clients have sent, ack it and close, within so many seconds."""
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
