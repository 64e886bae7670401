"""One fixture for each backend: whatever takes `open_queue` runs against all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from forwarder.config import SqliteConfig
from forwarder.observe.logs import Logs
from forwarder.queue.base import Queue, Share
from forwarder.queue.memory import Account
from forwarder.queue.sqlite.executor import Snapshot
from forwarder.queue.sqlite.store import Store
from tests.queue.sqlite.stores import beyond_bounds
from tests.queue.throwaway import WITH_DICT, DictConfig

OpenQueue = Callable[..., Awaitable[Queue]]


@pytest.fixture(autouse=True)
def _within_bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does to a queue, after each of its jobs file and log take no more than they may."""
    of, broken = Snapshot.of, list[str]()

    def looked_at(store: Store, *words: Any) -> Snapshot:
        # The first one is not made on the thread on which the store can be asked.
        with suppress(sqlite3.ProgrammingError):
            broken.extend(beyond_bounds(store))
        return of(store, *words)

    monkeypatch.setattr(Snapshot, "of", looked_at)
    yield
    assert broken == []


# The dictionary shows that the contract holds for another backend; the fast lane tests what is shipped.
@pytest.fixture(params=["sqlite", pytest.param("dict", marks=pytest.mark.slow)])
async def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenQueue]:
    """Return a function that opens the queue of this test; opening it again is a restart.

    It is opened as the daemon does it: by its settings, out of a list of backends.
    """
    accounts: dict[str, Account] = {}
    async with AsyncExitStack() as stack:

        async def open_again(*, max_bytes: int = 64 * 1024 * 1024, shares: dict[str, Share] | None = None) -> Queue:
            config = {
                "sqlite": SqliteConfig(path=tmp_path / "queue" / "queue.db", max_bytes=max_bytes),
                "dict": DictConfig(max_bytes, accounts),
            }[request.param]
            queue = await stack.enter_async_context(await WITH_DICT[type(config)].open(config, ["main"], Logs()))
            await queue.configure(shares or {"main": Share()})
            return queue

        yield open_again
