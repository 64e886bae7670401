"""What a stream client is told: refusals, and acks, folded into the last one.

An ack covers every line before it, so a refusal is written before the ack that covers it, and where
one could not be written no ack is any more: silence makes a client send again, a wrong ack loses
an event.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

# Bytes of answers that may wait in the socket's buffer.
_MAX_WAITING = 64 * 1024


class Answers:
    """The answers to one client. Whoever owns the transport passes on what it says about writing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_MAX_WAITING)
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_silent = False
        self._settled = 0
        self._acked = 0

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()
        self._ack()

    def silence(self) -> None:
        """Say nothing more: the client is gone, or has had its last ack."""
        self._is_silent = True
        self._writable.set()

    def silence_unread(self) -> None:
        """Say nothing more to a client that does not read what it is told."""
        if not self._writable.is_set():
            self.silence()

    def settled(self, line: int) -> None:
        """Ack the lines up to this one, now or when the client reads again."""
        self._settled = line
        self._ack()

    def _ack(self) -> None:
        if self._settled > self._acked and self._writable.is_set() and not self._is_silent:
            self._acked = self._settled
            self._transport.write(b'{"ack": %d}\n' % self._settled)

    async def refuse(self, line: int, status: int, detail: str) -> None:
        """Say that a line was not stored, once the client takes it; line 0 is the connection itself."""
        await self._writable.wait()
        if not self._is_silent:
            answer = {"refused": line, "status": status, "detail": detail}
            self._transport.write(msgspec.json.encode(answer) + b"\n")

    async def flush(self, timeout: float) -> None:
        """Wait until all that was said, the last ack too, has left this process, for up to `timeout` seconds."""
        if self._is_silent or self._transport.is_closing():
            return
        # From here on the transport says so as soon as it holds anything at all.
        self._transport.set_write_buffer_limits(high=0)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._writable.wait()
