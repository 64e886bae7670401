"""From checked events to durable ones: the one way into the queue, for HTTP and the stream alike."""

from __future__ import annotations

from forwarder.envelope import Checked, Envelope
from forwarder.errors import ShuttingDownError
from forwarder.queue.base import Queue


class Intake:
    """Accepts events for one configuration; `envelope` may be replaced while it runs."""

    def __init__(self, queue: Queue, envelope: Envelope) -> None:
        self._queue = queue
        self.envelope = envelope
        self._is_open = True

    def close(self) -> None:
        """Accept nothing more; what is being stored is finished."""
        self._is_open = False

    async def accept(self, checked: Checked) -> None:
        """Store events; durable on return. Raises UnavailableError or TooLargeError, and then nothing is stored."""
        if not self._is_open:
            raise ShuttingDownError("the forwarder is shutting down")
        await self._queue.append(checked.segments)

    async def wait_space(self, timeout: float) -> None:
        """Return when the queue may have space again, or after `timeout` seconds."""
        await self._queue.wait_space(timeout)
