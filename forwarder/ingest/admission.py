"""Limit the memory that all requests together hold until they are stored, so that many large ones cannot exhaust it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from forwarder.errors import BusyError

LARGE_BYTES = 512 * 1024
"""Requests with more bytes than this are large: they wait for one another."""

# Bytes that all requests together may hold.
_MAX_BYTES = 64 * 1024 * 1024
# Bytes beyond that which only small requests may use, so that large ones that never end do not shut them out.
_SMALL_BYTES = 16 * 1024 * 1024
# Seconds that a request waits for others before its client is told to try again later.
_WAIT_SECONDS = 5.0


class Admission:
    """Counts the bytes of requests that are being received and stored."""

    def __init__(self) -> None:
        self._taken = 0
        self._freed = asyncio.Event()

    async def reserve(self, size: int) -> int:
        """Wait until there is room for a large request; return the bytes that are counted for it, 0 for a small one.

        Raises BusyError.
        """
        if size <= LARGE_BYTES:
            return 0
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        # A request that is alone is admitted whatever its size, which has a limit of its own.
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
        # A request that announced its size has waited in `reserve`. One that did not is in the middle of being read and
        # cannot wait any more, so it is measured against a higher limit, and refused above that.
        room = 2 * _MAX_BYTES + (_SMALL_BYTES if size <= LARGE_BYTES else 0)
        if self._taken + more > max(room, size):
            raise BusyError
        self._taken += more
        return size

    def free(self, size: int) -> None:
        """Record that so many bytes are no longer held."""
        self._taken -= size
        self._freed.set()
        self._freed = asyncio.Event()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Count a request that has already been received, while it is being stored. Raises BusyError."""
        counted = self.count(0, size)
        try:
            yield
        finally:
            self.free(counted)
