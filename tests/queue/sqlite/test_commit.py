"""Group commit: what waits is run together, and each caller is told what came of its own operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forwarder.errors import ShuttingDownError, StorageError
from forwarder.queue.sqlite.commit import GroupCommit

PATIENCE = 10.0


class Desk:
    """Runs groups on a list when it is let to, and remembers them."""

    def __init__(self, max_bytes: int = 100) -> None:
        self.store: list[Any] = []
        self.groups: list[int] = []
        self.error: Exception | None = None
        self.began = asyncio.Event()
        self.may_run = asyncio.Event()
        self.may_run.set()
        self.commit: GroupCommit[list[Any]] = GroupCommit(self.run, max_bytes=max_bytes)

    async def run(self) -> None:
        while group := self.commit.next_group():
            self.groups.append(len(group))
            self.began.set()
            await self.may_run.wait()
            results = [self.error or operation.act(self.store) for operation in group]
            self.commit.finish(group, results)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def commit(desk: Desk) -> AsyncIterator[GroupCommit[list[Any]]]:
    desk.commit.start()
    yield desk.commit
    desk.may_run.set()
    await desk.commit.close()


async def blocked(desk: Desk, commit: GroupCommit[list[Any]]) -> asyncio.Future[Any]:
    """Let a first group begin that does not end yet, so that what follows waits."""
    desk.may_run.clear()
    first = commit.submit(lambda store: store.append("first"))
    await asyncio.wait_for(desk.began.wait(), PATIENCE)
    return first


async def test_what_waits_runs_together(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """All that comes while one group runs is the next group, in the order in which it came."""
    first = await blocked(desk, commit)
    waiting = [commit.submit(lambda store, n=n: store.append(n)) for n in range(50)]  # type: ignore[misc]
    desk.may_run.set()
    await asyncio.wait_for(asyncio.gather(first, *waiting), PATIENCE)
    assert desk.groups == [1, 50]
    assert desk.store == ["first", *range(50)]


async def test_a_group_is_bounded(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """A group ends before it grows over its size; an operation larger than that runs alone."""
    first = await blocked(desk, commit)
    waiting = [commit.submit(lambda _: None, size=size) for size in (60, 30, 20, 500, 1, 100)]
    desk.may_run.set()
    await asyncio.wait_for(asyncio.gather(first, *waiting), PATIENCE)
    assert desk.groups == [1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("sizes", "is_write", "groups", "order"),
    [
        ([300_000, 300_000], True, [1, 1, 2], ["settled", 0, 1]),
        ([600_000], True, [1, 1, 1], ["settled", 0]),
        ([500_000], True, [1, 2], ["settled", 0]),
        ([600_000], False, [1, 2], ["settled", 0]),
    ],
    ids=["many", "one large", "few", "a read"],
)
async def test_many_events_are_not_waited_for(
    sizes: list[int], is_write: bool, groups: list[int], order: list[Any]
) -> None:
    """Where many events are to be written, other writes are committed before them; few go with them."""
    desk = Desk(max_bytes=1 << 30)
    desk.commit.start()
    first = await blocked(desk, desk.commit)
    waiting = [
        desk.commit.submit(lambda store, n=n: store.append(n), size=size)  # type: ignore[misc]
        for n, size in enumerate(sizes)
    ]
    waiting.append(desk.commit.submit(lambda store: store.append("settled"), is_write=is_write))
    desk.may_run.set()
    await asyncio.wait_for(asyncio.gather(first, *waiting), PATIENCE)
    await desk.commit.close()
    assert desk.groups == groups
    assert desk.store == ["first", *order]


async def test_many_events_give_way_once() -> None:
    """However many other writes come, events wait for one group of them."""
    desk = Desk(max_bytes=1 << 30)
    desk.commit.start()
    settled = 0

    def settle(store: list[Any]) -> None:
        nonlocal settled
        store.append("settled")
        settled += 1
        if settled < 10:
            desk.commit.submit(settle)

    first = await blocked(desk, desk.commit)
    events = [desk.commit.submit(lambda store, n=n: store.append(n), size=600_000) for n in range(2)]  # type: ignore[misc]
    desk.commit.submit(settle)
    desk.may_run.set()
    await asyncio.wait_for(asyncio.gather(first, *events), PATIENCE)
    assert desk.store[:5] == ["first", "settled", "settled", 0, 1]
    await desk.commit.close()


async def test_a_failing_group_tells_everybody(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """If a group fails, each of its callers is told, and the next group runs."""
    first = await blocked(desk, commit)
    waiting = [commit.submit(lambda store: store.append(1)) for _ in range(5)]
    desk.error = StorageError("the disk is gone")
    desk.may_run.set()
    found = await asyncio.wait_for(asyncio.gather(first, *waiting, return_exceptions=True), PATIENCE)
    assert found == [desk.error] * 6
    desk.error = None
    assert await asyncio.wait_for(commit.submit(lambda store: len(store)), PATIENCE) == 0


async def test_each_has_its_own_result(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """A refusal among the results reaches the caller that it concerns, and nobody else."""
    refusal = StorageError("no")
    first = await blocked(desk, commit)
    waiting = [commit.submit(lambda _: 1), commit.submit(lambda _: refusal), commit.submit(lambda _: 3)]
    desk.may_run.set()
    found = await asyncio.wait_for(asyncio.gather(first, *waiting, return_exceptions=True), PATIENCE)
    assert found == [None, 1, refusal, 3]


async def test_a_cancelled_caller_harms_nobody(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """An operation whose caller is gone is still done, and its neighbours get their results."""
    first = await blocked(desk, commit)
    gone, left = commit.submit(lambda store: store.append("gone")), commit.submit(lambda store: len(store))
    gone.cancel()
    desk.may_run.set()
    assert await asyncio.wait_for(left, PATIENCE) == 2
    await first
    assert desk.store == ["first", "gone"]


async def test_close_runs_what_was_submitted(desk: Desk, commit: GroupCommit[list[Any]]) -> None:
    """What was submitted before the close is done; what comes after is refused."""
    first = await blocked(desk, commit)
    waiting = [commit.submit(lambda store, n=n: store.append(n), size=60) for n in range(3)]  # type: ignore[misc]
    closing = asyncio.create_task(commit.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDownError):
        commit.submit(lambda _: None)
    assert not closing.done()
    desk.may_run.set()
    await asyncio.wait_for(closing, PATIENCE)
    assert desk.store == ["first", 0, 1, 2]
    assert all(done.done() for done in (first, *waiting))


async def test_close_of_nothing() -> None:
    """What never started, or has nothing to do, closes at once, also twice."""
    commit = Desk().commit
    await commit.close()
    commit = Desk().commit
    commit.start()
    await asyncio.wait_for(commit.close(), PATIENCE)
    await asyncio.wait_for(commit.close(), PATIENCE)
