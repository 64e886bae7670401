"""Upkeep: free space of the file is handed back, and a failing storage is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from forwarder.errors import StorageError
from forwarder.model import EVERY_EVENT
from forwarder.queue.sqlite import admission, waiting
from forwarder.queue.sqlite.closing import Closing
from forwarder.queue.sqlite.sizes import PAGE_BYTES
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.upkeep import Upkeep
from forwarder.queue.sqlite.worker import Worker
from tests.queue.building import segment
from tests.queue.sqlite.files import PATIENCE, until, working


@asynccontextmanager
async def looked_after(path: Path) -> AsyncIterator[Worker]:
    """Run a worker whose file is kept small, and whose storage is tried again after a moment."""
    async with working(path) as worker:
        closing = Closing(0.01)
        upkeep = Upkeep(worker, closing, keep_free_bytes=256 * 1024, step_pages=16)
        running = asyncio.create_task(upkeep.run())
        yield worker
        closing.set()
        upkeep.stop()
        await asyncio.wait_for(running, PATIENCE)


async def test_free_space_is_handed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long outage the file becomes small again, by itself, and in as few steps as it takes."""
    path = tmp_path / "queue.db"
    steps, vacuum = 0, Store.vacuum

    def counted(store: Store, pages: int, keep: int) -> None:
        nonlocal steps
        steps += 1
        vacuum(store, pages, keep)

    monkeypatch.setattr(Store, "vacuum", counted)
    async with looked_after(path) as worker:
        for first in range(0, 20_000, 500):
            await worker.submit(partial(admission.append, segments=[segment(first, 500, filler=1000)]))
        # More than the log holds, so that it is in the file.
        assert path.stat().st_size > 8 << 20
        pages = path.stat().st_size // PAGE_BYTES
        purge = partial(waiting.purge, name="main", wanted=EVERY_EVENT, after=0, until=20_000)
        while (await worker.submit(purge))[0]:
            pass
        await until(lambda: path.stat().st_size < 1 << 20)
    assert steps <= pages // 8


async def test_a_failing_storage_is_tried_again(tmp_path: Path) -> None:
    """Once the storage works again that is found out, though nobody writes."""
    async with looked_after(tmp_path / "queue.db") as worker:
        await worker.submit(lambda store: store.query("PRAGMA query_only = ON", ()), is_write=False)
        with pytest.raises(StorageError):
            await worker.submit(Store.probe)
        assert worker.snapshot.failing is not None
        await worker.submit(lambda store: store.query("PRAGMA query_only = OFF", ()), is_write=False)
        await until(lambda: worker.snapshot.failing is None)
