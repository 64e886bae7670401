"""Dead letters that are too old are dropped, as long as that is configured."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from forwarder.daemon import cleaning
from forwarder.daemon.cleaning import Cleaning
from forwarder.errors import StorageError
from forwarder.model import Burial, DeadFilter
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.queue import SqliteQueue
from tests.fixtures import PATIENCE
from tests.queue.building import LIMITS, account, segment
from tests.queue.sqlite.files import opened


async def with_letters(path: Path, times: list[float], monkeypatch: pytest.MonkeyPatch) -> SqliteQueue:
    """Return a queue in which a letter died at each of these times."""
    queue = await opened(path)
    for number, died_at in enumerate(times):
        monkeypatch.setattr("forwarder.queue.sqlite.burying.time", lambda died_at=died_at: died_at)
        await queue.append([segment(number)])
        [batch] = await queue.take("main", LIMITS)
        await queue.settle(batch, Burial("rejected"))
    return queue


async def test_what_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters over the age go, counted and told; the others stay, and a reload changes the age."""
    monkeypatch.setattr(cleaning, "_LEAST_SECONDS", 0.01)
    monkeypatch.setattr("forwarder.daemon.cleaning.time.time", lambda: 1000.0)
    queue = await with_letters(tmp_path / "queue.db", [10.0, 500.0, 995.0], monkeypatch)
    ages: list[float | None] = [600.0]
    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(Cleaning(queue, lambda: ages[-1], Logs()).run())
        monkeypatch.setattr(cleaning, "_MOST_SECONDS", 0.01)
        await until(queue, dead=2)
        ages.append(None)
        await asyncio.sleep(0.05)
        assert (await account(queue)).dead == 2
        ages.append(100.0)
        await until(queue, dead=1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [letter.died_at async for letter in queue.dead_letters(DeadFilter())] == [995.0]
    assert (await account(queue)).dropped == 2
    assert [(line["event"], line["events"]) for line in lines] == [("dead_letters.dropped", 1)] * 2
    await queue.close()


async def until(queue: SqliteQueue, *, dead: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await account(queue)).dead != dead:
            await asyncio.sleep(0.01)


async def test_a_storage_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk does not end it: it is told, and tried again."""
    queue = await with_letters(tmp_path / "queue.db", [10.0], monkeypatch)
    purge_dead = queue.purge_dead

    async def fails(_wanted: DeadFilter) -> int:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(queue, "purge_dead", fails)
    with structlog.testing.capture_logs() as lines:
        await Cleaning(queue, lambda: 1.0, Logs()).drop(1000.0)
    assert [line["event"] for line in lines] == ["dead_letters.not_dropped"]
    monkeypatch.setattr(queue, "purge_dead", purge_dead)
    await Cleaning(queue, lambda: 1.0, Logs()).drop(1000.0)
    assert (await account(queue)).dead == 0
    await queue.close()
