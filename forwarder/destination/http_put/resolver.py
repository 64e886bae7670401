"""The addresses of one host, found in a place of its own.

The system's resolver blocks, for up to a minute where a name server is silent, and the threads of an
event loop are few and shared: two silent names would keep every destination from being resolved. So
each resolver has its own thread, one at a time, however many wait for the answer; whoever stops
waiting leaves it to itself, and it keeps no process from ending.

An answer is used for a moment only, so that a new connection goes to the address that the name has
now. Where the name server is out of order, or slow, the addresses that were known last are used
until it answers: a destination that works is not lost with it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, cast

# Seconds for which an answer is used: new connections may follow one another closely.
_FRESH_SECONDS = 1.0
# Seconds after which the addresses known last are used in place of the ones that do not come.
_PATIENCE = 3.0
# More addresses of a host than any list of servers has are of no use: each attempt takes a socket.
_MOST = 16


class Address(NamedTuple):
    """An address to connect to, as the system wants it."""

    family: int
    sockaddr: tuple[str | int, ...]


Lookup = Callable[[str, int], list[Address]]


def look_up(host: str, port: int) -> list[Address]:
    """Ask the system; blocks. Raises OSError, mostly `socket.gaierror`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Address(family, cast("tuple[str | int, ...]", place)) for family, _, _, _, place in found][:_MOST]


class Resolver:
    """Finds the addresses of one host and port. `lookup` blocks, and runs in a thread."""

    def __init__(self, host: str, port: int, lookup: Lookup = look_up) -> None:
        self._host = host
        self._port = port
        self._lookup = lookup
        self._known: list[Address] = []
        self._known_at = float("-inf")
        self._answer: asyncio.Future[list[Address]] | None = None

    def forget(self) -> None:
        """Ask anew the next time; what is known is used only if there is no answer."""
        self._known_at = float("-inf")

    async def addresses(self) -> list[Address]:
        """Return the addresses, in the order in which the system would try them. Raises OSError."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._known_at < _FRESH_SECONDS:
            return self._known
        if self._answer is None:
            self._answer = self._ask(loop)
        answer = self._answer
        await asyncio.wait([answer], timeout=_PATIENCE if self._known else None)
        if not answer.done():
            return self._known
        error = answer.exception()
        if error is None:
            return answer.result()
        if self._known and isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            return self._known
        raise error

    def _ask(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[list[Address]]:
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def take(found: list[Address] | Exception) -> None:
            self._answer = None
            if isinstance(found, Exception):
                answer.set_exception(found)
                # Perhaps nobody waits for it any more.
                answer.exception()
            else:
                self._known, self._known_at = found, loop.time()
                answer.set_result(found)

        def run() -> None:
            try:
                found: list[Address] | Exception = self._lookup(self._host, self._port)
            except Exception as error:
                found = error
            # A loop that is closed says so: nobody wants to know any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(take, found)

        threading.Thread(target=run, name=f"resolve-{self._host}", daemon=True).start()
        return answer
