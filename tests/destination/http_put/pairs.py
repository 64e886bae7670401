"""A connection to a test: what the client says over it is read by the test, which answers as it likes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from forwarder.destination.http_put.connection import Connection


class Pairs:
    """The connections of one test, each with its other end; `aclose` ends them all."""

    def __init__(self) -> None:
        self._ends: list[tuple[Connection, asyncio.StreamWriter]] = []

    async def connect(
        self, on_lost: Callable[[Connection], None] = lambda _connection: None
    ) -> tuple[Connection, asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection, and the other end of it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection("api.example:80", ours, on_lost), sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        self._ends.append((connection, writer))
        return connection, reader, writer

    async def aclose(self) -> None:
        """End them all."""
        for connection, writer in self._ends:
            connection.abort()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
