"""Group commit: what waits is taken off together, and each caller is answered for its own operation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from forwarder.errors import DiskFullError, StorageError
from forwarder.queue.sqlite.group_commit import Backlog, Group, Operation


def operation(name: Any = None, *, size: int = 0, is_write: bool = True) -> Operation:
    """Return an operation that can be told by what it returns."""
    return Operation(lambda _store: name, size, is_write, asyncio.get_running_loop().create_future())


def groups_of(backlog: Backlog) -> Iterator[list[Any]]:
    """Take off everything, group by group, each as what its operations return."""
    while (group := backlog.next_group()) is not None:
        yield [found.act(None) for found in group.operations]  # type: ignore[arg-type]


async def test_what_waits_is_one_group() -> None:
    """All that waits is the next group, in the order in which it came; then nothing waits any more."""
    backlog = Backlog(100)
    for number in range(50):
        backlog.add(operation(number))
    assert backlog
    assert list(groups_of(backlog)) == [list(range(50))]
    assert not backlog
    assert backlog.next_group() is None


async def test_a_group_is_bounded() -> None:
    """A group ends before it grows over its size; an operation larger than that is alone in its group."""
    backlog = Backlog(100)
    for size in (60, 30, 20, 500, 1, 100):
        backlog.add(operation(size, size=size))
    assert list(groups_of(backlog)) == [[60, 30], [20], [500], [1], [100]]


@pytest.mark.parametrize(
    ("sizes", "is_write", "groups"),
    [
        ([300_000, 300_000], True, [["settled"], [0, 1]]),
        ([600_000], True, [["settled"], [0]]),
        ([500_000], True, [["settled", 0]]),
        ([600_000], False, [["settled", 0]]),
    ],
    ids=["many", "one large", "few", "a read"],
)
async def test_many_events_are_not_waited_for(sizes: list[int], is_write: bool, groups: list[list[Any]]) -> None:
    """Where many events are to be written, other writes are committed before them; few go with them."""
    backlog = Backlog(1 << 30)
    for number, size in enumerate(sizes):
        backlog.add(operation(number, size=size))
    backlog.add(operation("settled", is_write=is_write))
    assert list(groups_of(backlog)) == groups


async def test_many_events_give_way_once() -> None:
    """However many other writes come, events wait for one group of them."""
    backlog = Backlog(1 << 30)
    for number in range(2):
        backlog.add(operation(number, size=600_000))
    found = []
    for _ in range(4):
        backlog.add(operation("settled"))
        found += [[other.act(None) for other in group.operations] for group in [backlog.next_group()] if group]  # type: ignore[arg-type]
    assert found[:2] == [["settled"], ["settled", 0, 1]]


class TestAnswers:
    async def test_each_has_its_own_result(self) -> None:
        """An error among the results reaches the caller that it belongs to, and nobody else."""
        group = Group([operation() for _ in range(3)], {0: 1, 1: StorageError("no"), 2: 3})
        group.answer()
        found = await asyncio.gather(*(each.done for each in group.operations), return_exceptions=True)
        assert found == [1, group.results[1], 3]

    async def test_an_error_reaches_all_that_is_not_done(self) -> None:
        """What was done before something went wrong has its result; the rest has the error."""
        group = Group([operation() for _ in range(3)], {1: "done"}, StorageError("the disk is gone"))
        group.answer()
        found = await asyncio.gather(*(each.done for each in group.operations), return_exceptions=True)
        assert found == [group.error, "done", group.error]

    async def test_what_has_no_result_is_not_done(self) -> None:
        """An operation that was passed over is not taken for done."""
        group = Group([operation()])
        group.answer()
        with pytest.raises(RuntimeError, match="not done"):
            await group.operations[0].done

    async def test_a_cancelled_caller_harms_nobody(self) -> None:
        """A caller that is gone is passed over, and its neighbours get their results."""
        group = Group([operation(), operation()], {0: 1, 1: 2})
        group.operations[0].done.cancel()
        group.answer()
        assert await group.operations[1].done == 2


async def test_what_is_left_to_do() -> None:
    """Writes and reads that have no result are left; what ended with an error can be taken for not done again."""
    group = Group([operation(is_write=number % 2 == 0) for number in range(4)], {0: DiskFullError("full"), 1: "read"})
    assert (group.undone(is_write=True), group.undone(is_write=False)) == ([2], [3])
    assert group.has(DiskFullError)
    group.forget(DiskFullError)
    assert not group.has(DiskFullError)
    assert (group.undone(is_write=True), group.undone(is_write=False)) == ([0, 2], [3])
