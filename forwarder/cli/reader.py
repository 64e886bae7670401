"""Read the input of `send` piece by piece, and never further ahead than it can be sent."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import Iterator

from forwarder.cli.splitter import Chunk, Splitter

# About as much as one write to a socket takes on most systems, so larger pieces would gain nothing.
_READ_BYTES = 256 * 1024


class Reader:
    """The chunks of a file, a pipe or a terminal.

    `next_chunk` blocks the thread, while `wait` waits in the event loop; both work on the same chunks, in order.
    """

    def __init__(self, descriptor: int, splitter: Splitter) -> None:
        self._descriptor = descriptor
        self._splitter = splitter
        self._ready: deque[Chunk] = deque()
        self._ended = False
        self.bytes_read = 0
        status = os.fstat(descriptor)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        """Size in bytes of a regular file; None if it is unknown how much will come."""

    def next_chunk(self) -> Chunk | None:
        """Return the next events, or None at the end. Raises InputError, OSError."""
        while not self._ready and not self._ended:
            self._take()
        return self._ready.popleft() if self._ready else None

    async def wait(self) -> None:
        """Wait until `next_chunk` would return at once. Raises InputError, OSError."""
        while not self._ready and not self._ended:
            await _readable(self._descriptor)
            self._take()

    def put_back(self, chunk: Chunk) -> None:
        """Put a chunk back, so that it is the next one again."""
        self._ready.appendleft(chunk)

    def _take(self) -> None:
        data = os.read(self._descriptor, _READ_BYTES)
        self.bytes_read += len(data)
        self._ended = not data
        chunks: Iterator[Chunk] = self._splitter.feed(data) if data else self._splitter.end()
        self._ready.extend(chunks)


async def _readable(descriptor: int) -> None:
    """Wait until a read would not block."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        # A regular file cannot be watched (epoll_ctl(2), EPERM), but reading it does not block.
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
