"""Hand free space of the file back, and try a failing storage again, as long as there is something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forwarder.errors import DiskFullError, StorageError
from forwarder.queue.sqlite.commit import GroupCommit
from forwarder.queue.sqlite.jobs import Snapshot
from forwarder.queue.sqlite.store import Store

# Free pages that a file keeps for reuse before space is handed back, and how many pages one step
# hands back, so that no commit waits long for it.
_KEEP_FREE_BYTES = 16 * 1024 * 1024
_VACUUM_PAGES = 64
# The same where the disk is full: what a step writes must fit into what little there is.
_SHORT_VACUUM_PAGES = 16
# Seconds between attempts to write to a storage that fails.
RETRY_SECONDS = 1.0


class Upkeep:
    """What is done beside the callers' operations until `closing` is set; `state` tells whether there is a need."""

    def __init__(
        self, commit: GroupCommit[Store], state: Callable[[], tuple[Snapshot, bool]], closing: asyncio.Event
    ) -> None:
        self._commit = commit
        self._state = state
        self._closing = closing
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Take note that the state has changed, or that `closing` was set."""
        if self._is_needed() or self._closing.is_set():
            self._wake.set()

    async def run(self) -> None:
        """Work until `closing` is set."""
        while not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            while not self._closing.is_set() and self._is_needed():
                try:
                    await self._step()
                except (DiskFullError, StorageError):
                    await pause(self._closing)

    def _is_needed(self) -> bool:
        snapshot, is_failing = self._state()
        return is_failing or snapshot.free_bytes > _keep(snapshot)

    async def _step(self) -> None:
        before, _ = self._state()
        if before.free_bytes > _keep(before):
            pages = _SHORT_VACUUM_PAGES if before.is_short else _VACUUM_PAGES
            await self._commit.submit(partial(Store.vacuum, pages=pages, keep=_keep(before)), is_write=False)
        if self._state()[0].free_bytes >= before.free_bytes:
            await pause(self._closing)
            if self._state()[1]:
                await self._commit.submit(Store.probe)


def _keep(snapshot: Snapshot) -> int:
    """Return how many free bytes of the file are kept for reuse."""
    return 0 if snapshot.is_short else max(_KEEP_FREE_BYTES, snapshot.live_bytes // 2)


async def pause(closing: asyncio.Event) -> None:
    """Wait until it is time to try again, or `closing` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(RETRY_SECONDS):
            await closing.wait()
