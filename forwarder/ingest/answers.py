"""The answers to a stream client: refusals, and acks, of which only the latest has to be sent.

An ack covers every line before it, so a refusal is written before the ack that covers its line. If a
refusal could not be written, no further ack is: after silence the client sends its lines again, but a
wrong ack would lose an event.
"""

from __future__ import annotations

import asyncio

import msgspec

from forwarder.waiting import wait_at_most

# Bytes of answers that the transport may hold before it asks us to pause.
_MAX_WAITING = 64 * 1024


class Answers:
    """The answers to one client. The transport's protocol has to pass on `pause_writing` and `resume_writing`."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_MAX_WAITING)
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_silent = False
        self._is_patient = True
        self._settled = 0
        self._acked = 0

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()
        self._ack()

    def silence(self) -> None:
        """Write nothing more, because the client is gone or has had its last ack."""
        self._is_silent = True
        self._writable.set()

    def silence_unread(self) -> None:
        """Write nothing more to a client that does not read its answers, now or when it comes to the next refusal."""
        self._is_patient = False
        if not self._writable.is_set():
            self.silence()

    def settled(self, line: int) -> None:
        """Ack all lines up to this one, now or as soon as the client reads again."""
        self._settled = line
        self._ack()

    def _ack(self) -> None:
        if self._settled > self._acked and self._writable.is_set() and not self._is_silent:
            self._acked = self._settled
            self._transport.write(b'{"ack": %d}\n' % self._settled)

    async def refuse(self, line: int, status: int, detail: str) -> None:
        """Say that a line was not stored, waiting until the client reads; line 0 means the connection itself."""
        if not self._is_patient:
            self.silence_unread()
        await self._writable.wait()
        if not self._is_silent:
            answer = {"refused": line, "status": status, "detail": detail}
            self._transport.write(msgspec.json.encode(answer) + b"\n")

    async def flush(self, timeout: float) -> None:
        """Wait until every answer, including the last ack, has left this process, for up to `timeout` seconds."""
        if self._is_silent or self._transport.is_closing():
            return
        # With this limit the transport counts as writable only when it holds nothing at all.
        self._transport.set_write_buffer_limits(high=0)
        await wait_at_most(timeout, self._writable)
