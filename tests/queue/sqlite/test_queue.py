"""The event loop's side of the queue: waking, giving back, and a storage that fails for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forwarder.delivery.batching import seconds_until_due
from forwarder.errors import QueueFullError, QueueLockedError, ShuttingDownError, StorageError
from forwarder.model import Burial, DeadFilter, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.sizes import wal_bytes
from tests.queue.building import LIMITS, account, drain, next_batch, numbers, segment, take
from tests.queue.sqlite.files import PATIENCE, opened, until

LONG = 1000.0


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
        await queue.configure({"main": Share()})
        yield queue


async def fail(queue: SqliteQueue, fails: bool) -> None:
    """Let every write fail from now on, or succeed again."""
    await queue._worker.submit(lambda store: store.query(f"PRAGMA query_only = {fails}", ()), is_write=False)


async def waits(task: asyncio.Task[None]) -> bool:
    """Say whether a task still waits after everything that is due has been done."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


class TestWaiting:
    async def test_a_wake_up_is_not_lost(self, queue: SqliteQueue) -> None:
        """A wake-up that comes before the wait ends it at once; it is used up by it."""
        queue.wake("main")
        await asyncio.wait_for(queue.wait("main", LONG), PATIENCE)
        waiter = asyncio.create_task(queue.wait("main", LONG))
        assert await waits(waiter)
        queue.wake("main")
        await asyncio.wait_for(waiter, PATIENCE)

    async def test_one_destination_alone(self, queue: SqliteQueue) -> None:
        """What happens to another destination wakes nobody."""
        await queue.configure({"main": Share(), "other": Share()})
        waiter = asyncio.create_task(queue.wait("main", LONG))
        await asyncio.sleep(0)
        queue.wake("other")
        await queue.append([segment(0, destination="other")])
        assert await waits(waiter)
        waiter.cancel()

    @pytest.mark.parametrize("enough", [Limits(10, 1 << 20), Limits(1000, 10 * len(segment(0).data))])
    async def test_enough(self, queue: SqliteQueue, enough: Limits) -> None:
        """Woken by the first event, then only when there is enough, by number or by size."""
        waiter = asyncio.create_task(queue.wait("main", LONG, enough))
        await asyncio.sleep(0)
        await queue.append([segment(0)])
        await asyncio.wait_for(waiter, PATIENCE)
        waiter = asyncio.create_task(queue.wait("main", LONG, enough))
        await asyncio.sleep(0)
        for number in range(1, 9):
            await queue.append([segment(number)])
            assert await waits(waiter)
        await queue.append([segment(9)])
        await asyncio.wait_for(waiter, PATIENCE)
        assert queue.pending("main").events == 10

    async def test_what_comes_between_a_look_and_a_wait(self, queue: SqliteQueue) -> None:
        """Events that came after the last look, and before the wait, end it."""
        await queue.wait("main", 0)
        appended = asyncio.create_task(queue.append([segment(0)]))
        assert queue.pending("main").events == 0
        await asyncio.wait_for(queue.wait("main", LONG), PATIENCE)
        assert queue.pending("main").events == 1
        await appended

    async def test_pending_is_known_when_an_append_returns(self, queue: SqliteQueue) -> None:
        """Whoever was told that events are stored finds them among what waits."""
        for number in range(20):
            await queue.append([segment(number)])
            assert queue.pending("main").events == number + 1

    async def test_a_cancellation_that_comes_with_the_wake_up(self, queue: SqliteQueue) -> None:
        """A waiter that is cancelled in the moment in which it is woken ends, and does not wait on."""

        async def wait_for_ever() -> None:
            while True:
                await queue.wait("main", LONG)

        waiter = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        queue.wake("main")
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter], timeout=PATIENCE)
        assert waiter.cancelled()

    async def test_an_unknown_destination(self, queue: SqliteQueue) -> None:
        """Of a destination that nobody has configured nothing waits."""
        assert queue.pending("nobody").events == 0
        await asyncio.wait_for(queue.wait("nobody", 0.001), PATIENCE)

    async def test_space(self, queue: SqliteQueue) -> None:
        """Whoever waits for space is woken when some has become free, and at the timeout."""
        await queue.append([segment(0, 1000, filler=1000)])
        await asyncio.wait_for(queue.wait_space(0.001), PATIENCE)
        waiter = asyncio.create_task(queue.wait_space(LONG))
        await asyncio.sleep(0.01)
        assert not waiter.done()
        await queue.purge("main")
        await asyncio.wait_for(waiter, PATIENCE)


class TestGivingBack:
    async def test_before_a_purge(self, queue: SqliteQueue) -> None:
        """What was given back just before a purge is dropped by it, however busy the queue is."""
        for first in range(0, 60, 3):
            await queue.append([segment(first, 3)])
            batch = await take(queue)
            busy = asyncio.create_task(queue.set_paused("main", False))
            await asyncio.sleep(0)
            queue.release(batch)
            assert await queue.purge("main") == 3
            await busy
        assert (await account(queue)).dropped == 60

    async def test_before_an_expiry(self, queue: SqliteQueue) -> None:
        """What was given back just before an expiry is seen by it."""
        await queue.append([segment(0, 3)])
        queue.release(await take(queue))
        assert await queue.expire("main", 4e9, Burial("expired")) == 3

    async def test_is_due_at_once(self, queue: SqliteQueue) -> None:
        """What was given back counts in full and has waited long enough: it was due when it was taken."""
        await queue.append([segment(0, 3)])
        batch = await take(queue)
        await queue.append([segment(3)])
        assert queue.pending("main").events == 1
        queue.release(batch)
        await queue.set_paused("main", False)
        pending = queue.pending("main")
        assert pending.events == 4
        assert seconds_until_due(pending, LIMITS, max_age=LONG, now=0.0) == 0.0

    async def test_after_the_close(self, tmp_path: Path) -> None:
        """A batch that comes back too late is no error: it is still queued."""
        async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
            await queue.configure({"main": Share()})
            await queue.append([segment(0, 3)])
            batch = await take(queue)
            await queue.close()
            queue.release(batch)
        async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
            assert await drain(queue) == [0, 1, 2]


class TestFailingStorage:
    @pytest.fixture
    async def queue(self, tmp_path: Path) -> AsyncIterator[SqliteQueue]:
        """A queue that tries a failing storage again after a moment."""
        queue = await opened(tmp_path / "queue.db", retry_seconds=0.01)
        yield queue
        await queue.close()

    async def test_nothing_is_accepted(self, queue: SqliteQueue) -> None:
        """While the storage fails, appends are refused and stored by nobody; once it works, they are taken again."""
        await queue.append([segment(0)])
        await fail(queue, True)
        found = await asyncio.gather(*(queue.append([segment(n)]) for n in range(1, 5)), return_exceptions=True)
        assert {type(error) for error in found} == {StorageError}
        assert "readonly" in (queue.trouble() or "")
        assert (await queue.stats()).failing == queue.trouble()
        assert (await account(queue)).accepted == 1
        await fail(queue, False)
        await until(lambda: queue.trouble() is None)
        await queue.append([segment(5)])
        assert await drain(queue) == [0, 5]

    async def test_a_settlement_is_made_good(self, queue: SqliteQueue) -> None:
        """A settlement waits until the storage takes it; the batch is neither lost nor handed out again."""
        await queue.append([segment(0, 4)])
        left, right = (await take(queue)).split(2)
        await fail(queue, True)
        settling = [
            asyncio.create_task(queue.settle(left)),
            asyncio.create_task(queue.settle(right, Burial("rejected", 400, "no"))),
        ]
        await until(lambda: queue.trouble() is not None)
        assert await next_batch(queue, "main", LIMITS) is None
        assert not any(task.done() for task in settling)
        await fail(queue, False)
        await asyncio.wait_for(asyncio.gather(*settling), PATIENCE)
        found = await account(queue)
        assert (found.delivered, found.dead, found.queued) == (2, 2, 0)

    async def test_a_close_does_not_wait_for_it(self, tmp_path: Path) -> None:
        """A settlement that cannot be made before the close is told; the events are still queued."""
        async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
            await queue.configure({"main": Share()})
            await queue.append([segment(0, 2)])
            batch = await take(queue)
            await fail(queue, True)
            settling = asyncio.create_task(queue.settle(batch))
            await until(lambda: queue.trouble() is not None)
            await asyncio.wait_for(queue.close(), PATIENCE)
            with pytest.raises((StorageError, ShuttingDownError)):
                await asyncio.wait_for(settling, PATIENCE)
        async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
            assert await drain(queue) == [0, 1]

    async def test_a_settlement_outlives_its_caller(self, queue: SqliteQueue) -> None:
        """What was answered is recorded as soon as the storage works again, though whoever asked for it is gone."""
        await queue.append([segment(0, 4)])
        left, right = (await take(queue)).split(2)
        await fail(queue, True)
        settling = [asyncio.create_task(queue.settle(part)) for part in (left, right)]
        await until(lambda: queue.trouble() is not None)
        for task in settling:
            task.cancel()
        await asyncio.wait(settling)
        assert all(task.cancelled() for task in settling)
        await fail(queue, False)
        await until(lambda: not queue._settling)
        found = await account(queue)
        assert (found.delivered, found.queued) == (4, 0)

    async def test_a_settlement_that_is_never_made_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where the storage fails up to the close, the log says that the batch will be sent again."""
        async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
            await queue.configure({"main": Share()})
            await queue.append([segment(0, 2)])
            batch = await take(queue)
            await fail(queue, True)
            settling = asyncio.create_task(queue.settle(batch))
            await until(lambda: queue.trouble() is not None)
            settling.cancel()
            await asyncio.wait([settling])
            await asyncio.wait_for(queue.close(), PATIENCE)
        assert capsys.readouterr().out.count("batch.not_settled") == 1

    async def test_a_bug_harms_no_neighbour(self, queue: SqliteQueue) -> None:
        """Of the writes of one commit only the one with a bug fails; the others are stored, in their order."""
        results = await asyncio.gather(
            queue.append([segment(0)]),
            queue.append([segment(1), segment(2, destination="nobody")]),
            queue.append([segment(3)]),
            return_exceptions=True,
        )
        assert [isinstance(result, KeyError) for result in results] == [False, True, False]
        assert (await account(queue)).accepted == 2
        assert await drain(queue) == [0, 3]

    async def test_a_bug_is_told_and_survived(self, queue: SqliteQueue) -> None:
        """An error that nobody expects reaches the callers of its commit; the next commit works."""
        with pytest.raises(KeyError):
            await queue.append([segment(0, destination="nobody")])
        await queue.append([segment(1)])
        assert await drain(queue) == [1]


class TestLog:
    @pytest.mark.slow
    async def test_the_log_stays_small(self, queue: SqliteQueue, tmp_path: Path) -> None:
        """Whatever goes through the queue, its log is folded into the file before it outgrows what is kept for it."""
        largest = 0
        for first in range(0, 40_000, 500):
            await queue.append([segment(first, 500, filler=1000)])
            assert len(await drain(queue)) == 500
            largest = max(largest, (tmp_path / "queue.db-wal").stat().st_size)
        assert 0 < largest <= wal_bytes(64 << 20)


class TestOpenAndClose:
    async def test_a_second_instance(self, queue: SqliteQueue, tmp_path: Path) -> None:
        """A queue that is open cannot be opened again, and is not harmed by the attempt."""
        with pytest.raises(QueueLockedError):
            await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20)
        await queue.append([segment(0)])
        assert await drain(queue) == [0]

    async def test_closed(self, queue: SqliteQueue) -> None:
        """A queue that is closed says so to everybody, and closes only once."""
        await queue.close()
        await queue.close()
        assert queue.trouble() == "the forwarder is shutting down"
        with pytest.raises(ShuttingDownError):
            await queue.append([segment(0)])
        with pytest.raises(ShuttingDownError):
            await next_batch(queue, "main", LIMITS)

    async def test_nothing_to_append(self, queue: SqliteQueue) -> None:
        """An append of no segments is done at once."""
        await queue.append([])
        assert (await account(queue)).accepted == 0

    async def test_large_dead_letters_are_all_listed(self, queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        """A listing that reads few large letters at a time still names all of them."""
        monkeypatch.setattr("forwarder.queue.sqlite.dead.STEP_BYTES", 5000)
        await queue.append([segment(0, 10, filler=2000)])
        await queue.settle(await take(queue), Burial("rejected"))
        found = [letter.event async for letter in queue.dead_letters(DeadFilter())]
        assert numbers(b"\n".join(found)) == list(range(10))


@pytest.mark.parametrize(("each", "filler"), [(1, 0), (10, 300), (100, 4000)])
@pytest.mark.slow
async def test_a_full_queue_that_dies_and_is_replayed(tmp_path: Path, each: int, filler: int) -> None:
    """Whatever becomes of a full queue, file and log stay within its size (conftest), and nothing is lost."""
    max_bytes = 16 << 20
    queue = await (await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=max_bytes)).__aenter__()
    await queue.configure({"main": Share(), "small": Share(2 << 20)})
    for name in ("small", "main"):
        accepted, is_full = 0, False
        while not is_full:
            requests = [[segment(accepted + n * each, each, filler=filler, destination=name)] for n in range(20)]
            results = await asyncio.gather(*map(queue.append, requests), return_exceptions=True)
            accepted += each * sum(not isinstance(result, BaseException) for result in results)
            is_full = any(isinstance(result, QueueFullError) for result in results)
    before = [await account(queue, name) for name in ("main", "small")]
    for _ in range(2):
        for name in ("main", "small"):
            assert await queue.expire(name, 4e9, Burial("expired", 503, "x" * 500)) > 0
        replayed = await queue.replay(DeadFilter())
        assert replayed == sum(found.accepted for found in before)
    for name in ("main", "small"):
        while batches := await queue.take(name, Limits(3, 1 << 20)):
            if not await queue.settle(batches[0], Burial("rejected", 400, "y" * 500)):
                break
            if (await account(queue, name)).dead > 600:
                break
    after = [await account(queue, name) for name in ("main", "small")]
    assert [now.queued + now.dead for now in after] == [found.accepted for found in before]
    assert sum(now.dead for now in after) > 30
    await queue.close()
