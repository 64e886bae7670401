"""Hand free space of the file back, and try a failing storage again, as long as there is something to do."""

from __future__ import annotations

import asyncio
from functools import partial

from forwarder.errors import StorageError
from forwarder.queue.sqlite.closing import Closing
from forwarder.queue.sqlite.executor import Snapshot
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.worker import Worker

# Free bytes that a file keeps, since they will soon be used again.
KEEP_FREE_BYTES = 16 * 1024 * 1024
# How many pages one step hands back, so that no commit waits long for it.
STEP_PAGES = 64
# The same where the disk is full: what a step writes must fit into what little there is.
_SHORT_STEP_PAGES = 16


class Upkeep:
    """What is done beside the callers' operations, from when a snapshot shows the need until there is none."""

    def __init__(
        self,
        worker: Worker,
        closing: Closing,
        *,
        keep_free_bytes: int = KEEP_FREE_BYTES,
        step_pages: int = STEP_PAGES,
    ) -> None:
        self._worker = worker
        self._closing = closing
        self._keep_free_bytes = keep_free_bytes
        self._step_pages = step_pages
        self._wake = asyncio.Event()
        worker.on_snapshot.append(self._see)

    async def run(self) -> None:
        """Work until `closing` is set, and `stop` was called."""
        while not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            while not self._closing.is_set() and self._is_needed(self._worker.snapshot):
                try:
                    await self._step()
                except StorageError:
                    await self._closing.pause()

    def stop(self) -> None:
        """Look at `closing`."""
        self._wake.set()

    def _see(self, _before: Snapshot, now: Snapshot) -> None:
        if self._is_needed(now):
            self._wake.set()

    def _is_needed(self, snapshot: Snapshot) -> bool:
        return snapshot.failing is not None or snapshot.free_bytes > self._keep(snapshot)

    def _keep(self, snapshot: Snapshot) -> int:
        """Return how many free bytes of the file are kept for reuse."""
        return 0 if snapshot.is_short else max(self._keep_free_bytes, snapshot.live_bytes // 2)

    async def _step(self) -> None:
        before = self._worker.snapshot
        if before.free_bytes > (keep := self._keep(before)):
            pages = _SHORT_STEP_PAGES if before.is_short else self._step_pages
            await self._worker.submit(partial(Store.vacuum, pages=pages, keep=keep), is_write=False)
        if self._worker.snapshot.free_bytes >= before.free_bytes:
            # Nothing was gained: the storage fails, or cannot give more back just now.
            await self._closing.pause()
            if self._worker.snapshot.failing is not None:
                await self._worker.submit(Store.probe)
