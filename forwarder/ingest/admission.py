"""The memory that requests may take together until they are stored, so that many large ones do not take all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from forwarder.errors import BusyError

LARGE_BYTES = 512 * 1024
"""Requests above this are large: they wait for each other."""

# Bytes that all requests together may hold.
_MAX_BYTES = 64 * 1024 * 1024
# Bytes beyond that for small ones alone: large ones that do not come to an end must not shut them out.
_SMALL_BYTES = 16 * 1024 * 1024
# Seconds that a request waits for others before it is told to come back.
_WAIT_SECONDS = 5.0


class Admission:
    """Counts the bytes of requests that are being received and stored."""

    def __init__(self) -> None:
        self._taken = 0
        self._freed = asyncio.Event()

    async def reserve(self, size: int) -> int:
        """Wait until a large request fits in beside the others; return the bytes that are counted for it.

        Raises BusyError.
        """
        if size <= LARGE_BYTES:
            return 0
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        # A request that is alone may have all that a request may have.
        while self._taken and self._taken + size > _MAX_BYTES:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._freed.wait()
            except TimeoutError:
                raise BusyError from None
        self._taken += size
        return size

    def count(self, counted: int, size: int) -> int:
        """Count a request that has grown to `size`; return what is counted for it now. Raises BusyError."""
        more = size - counted
        if more <= 0:
            return counted
        # What said how large it is has waited for its turn; others are not waited for, but meet another limit.
        room = 2 * _MAX_BYTES + (_SMALL_BYTES if size <= LARGE_BYTES else 0)
        if self._taken + more > max(room, size):
            raise BusyError
        self._taken += more
        return size

    def free(self, size: int) -> None:
        """Take note that so many bytes are not held any more."""
        self._taken -= size
        self._freed.set()
        self._freed = asyncio.Event()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Count what is there already while it is being stored. Raises BusyError."""
        counted = self.count(0, size)
        try:
            yield
        finally:
            self.free(counted)
