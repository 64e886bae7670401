"""Look after the queue's file and its lock: whether somebody has taken one of them away."""

from __future__ import annotations

import asyncio

from forwarder.errors import StorageError
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.closing import Closing
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.worker import Worker

HINT = (
    "run forwarder queue export for each destination, and forwarder dead export, before this process ends; then put the"
    " file back, or restart with an empty queue"
)


class Watch:
    """What is wrong with the place of the file, looked at until `closing` is set."""

    def __init__(self, worker: Worker, lock: InstanceLock, closing: Closing) -> None:
        self._worker = worker
        self._lock = lock
        self._closing = closing
        self.trouble: str | None = None

    def check(self) -> None:
        """Raise StorageError while the file is not in its place."""
        if self.trouble is not None:
            raise StorageError(self.trouble, hint=HINT)

    async def run(self) -> None:
        """Look, about once a second, until `closing` is set."""
        while not self._closing.is_set():
            before, self.trouble = self.trouble, await asyncio.to_thread(self._look)
            if self.trouble is not None:
                if before is None:
                    self._worker.observer.saw(Notice("queue.file_gone", {"reason": self.trouble, "hint": HINT}))
                await self._fold()
            elif before is not None:
                self._worker.observer.saw(Notice("queue.file_back", {}))
            await self._closing.pause()

    def _look(self) -> str | None:
        trouble = self._worker.place.trouble()
        if trouble is not None:
            return f"{trouble}; what is queued can be read with: forwarder queue export"
        if self._lock.is_gone() and self._lock.restore():
            self._worker.observer.saw(Notice("queue.lock_restored", {}))
        return None

    async def _fold(self) -> None:
        """Write the log into the file that is open, so that one that was moved away has everything."""
        try:
            await self._worker.submit(Store.fold, is_write=False)
        except StorageError as error:
            self._worker.observer.saw(Notice("queue.not_folded", {"reason": error.message}))
