"""The worker: what is submitted is done in groups on the connection's thread, and comes back with a snapshot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from forwarder.errors import ShuttingDownError, StorageError
from forwarder.model import Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission
from forwarder.queue.sqlite.database import Connection
from forwarder.queue.sqlite.executor import Executor, Snapshot
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from forwarder.queue.sqlite.worker import Worker
from tests.queue.building import segment
from tests.queue.sqlite.files import PATIENCE, working


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with working(tmp_path / "queue.db") as worker:
        yield worker


class Blocked:
    """Keeps the connection's thread busy until it is let go, so that what is submitted meanwhile waits."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, _store: Store) -> None:
        self.began.set()
        assert self.may_end.wait(PATIENCE)


async def blocked(worker: Worker) -> tuple[Blocked, asyncio.Future[Any]]:
    block = Blocked()
    first = worker.submit(block)
    assert await asyncio.to_thread(block.began.wait, PATIENCE)
    return block, first


class TestGroups:
    async def test_what_waits_is_done_together(self, worker: Worker) -> None:
        """All that comes while one group is worked off is the next group, and comes back with one snapshot."""
        block, first = await blocked(worker)
        seen: list[Snapshot] = []
        worker.on_snapshot.append(lambda _before, now: seen.append(now))
        waiting = [
            worker.submit(lambda store, n=n: admission.append(store, [segment(n)]))  # type: ignore[misc]
            for n in range(50)
        ]
        block.may_end.set()
        await asyncio.wait_for(asyncio.gather(first, *waiting), PATIENCE)
        assert [found.pending["main"].events for found in seen] == [0, 50]

    async def test_one_follows_the_other(self, worker: Worker) -> None:
        """What comes while a group is worked off is the next, and need not wait for the event loop to begin it."""
        block, first = await blocked(worker)
        second = threading.Event()
        followed = worker.submit(lambda _store: second.set(), is_write=False)
        block.may_end.set()
        # The event loop stands still meanwhile.
        assert second.wait(PATIENCE)
        assert not first.done()
        await asyncio.wait_for(asyncio.gather(first, followed), PATIENCE)

    async def test_observers_come_before_callers(self, worker: Worker) -> None:
        """Whoever is told that a commit is done finds the snapshot of after it."""
        done = worker.submit(lambda store: admission.append(store, [segment(0)]))
        known: list[bool] = []
        worker.on_snapshot.append(lambda _before, _now: known.append(done.done()))
        await asyncio.wait_for(done, PATIENCE)
        assert known == [False]
        assert worker.snapshot.pending["main"].events == 1

    async def test_a_release_comes_first(self, worker: Worker) -> None:
        """What is submitted after a release finds the events waiting, also a write, which is done before reads."""
        await worker.submit(lambda store: admission.append(store, [segment(0, 3)]))
        [batch] = await worker.submit(lambda store: take(store, "main", Limits(10, 1 << 20)), is_write=False)
        block, first = await blocked(worker)
        worker.release(batch)
        leased = worker.submit(lambda store: len(store.destinations["main"].leased))
        block.may_end.set()
        await first
        assert await leased == 0


class TestFailures:
    async def test_no_way_to_the_file(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the connection takes no job, each caller is told, and later ones are served."""

        async def fails(_self: Connection, _job: object) -> None:
            raise ValueError("no connection")

        with monkeypatch.context() as patch:
            patch.setattr(Connection, "run", fails)
            # The job before this one may still be looking for more to do.
            while (await asyncio.gather(worker.submit(lambda _store: 1), return_exceptions=True))[0] == 1:
                await asyncio.sleep(0)
            waiting = [worker.submit(lambda _store: 1), worker.submit(lambda _store: 2)]
            found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
        assert [str(error) for error in found] == ["no connection"] * 2
        assert await asyncio.wait_for(worker.submit(lambda store: store.configure({"main": Share()})), PATIENCE) == []

    async def test_what_has_no_result_is_not_done(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        """An append that was passed over is not taken for stored."""
        monkeypatch.setattr(Executor, "execute", lambda _self, _group, before, _db: before)
        with pytest.raises(RuntimeError, match="not done"):
            await asyncio.wait_for(worker.submit(lambda store: admission.append(store, [segment(0)])), PATIENCE)

    async def test_the_snapshot_tells(self, worker: Worker) -> None:
        """A storage that fails is known from the snapshot until a write succeeds; a read says nothing about it."""
        await worker.submit(lambda store: store.query("PRAGMA query_only = ON", ()), is_write=False)
        with pytest.raises(StorageError):
            await worker.submit(Store.probe)
        await worker.submit(lambda store: store.query("PRAGMA query_only = OFF", ()), is_write=False)
        assert worker.snapshot.failing is not None
        await worker.submit(Store.probe)
        assert worker.snapshot.failing is None


class TestClose:
    async def test_what_was_submitted_is_done(self, tmp_path: Path) -> None:
        """What was submitted before the close is done; what comes after is refused."""
        async with working(tmp_path / "queue.db") as worker:
            block, first = await blocked(worker)
            waiting = [
                worker.submit(lambda store, n=n: admission.append(store, [segment(n)]), size=60)  # type: ignore[misc]
                for n in range(3)
            ]
            closing = asyncio.create_task(worker.close())
            await asyncio.sleep(0)
            with pytest.raises(ShuttingDownError):
                worker.submit(lambda _store: None)
            assert not closing.done()
            block.may_end.set()
            await asyncio.wait_for(closing, PATIENCE)
            assert all(done.done() for done in (first, *waiting))
        async with working(tmp_path / "queue.db") as worker:
            assert worker.snapshot.pending["main"].events == 3

    async def test_a_cancelled_caller_harms_nobody(self, worker: Worker) -> None:
        """An operation whose caller is gone is still done, and its neighbours get their results."""
        block, first = await blocked(worker)
        gone = worker.submit(lambda store: admission.append(store, [segment(0)]))
        left = worker.submit(lambda _store: "left")
        gone.cancel()
        block.may_end.set()
        assert await asyncio.wait_for(left, PATIENCE) == "left"
        await first
        assert worker.snapshot.pending["main"].events == 1
