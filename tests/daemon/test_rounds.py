"""Every look sees the same accounts, and nothing that goes wrong ends the rounds."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.daemon import rounds
from forwarder.daemon.rounds import Rounds
from forwarder.errors import StorageError
from forwarder.model import QueueStats
from forwarder.observe.facts import Notice
from tests.observe.recording import Recording
from tests.queue.watched import WatchedQueue


async def test_all_looks_share_one_reading() -> None:
    """The queue is asked once a round, and each look is handed the same accounts."""
    queue, first, second = WatchedQueue(), list[QueueStats | None](), list[QueueStats | None]()
    queue.hold("main", [b"{}"])
    await Rounds(queue, [first.append, second.append], Recording()).once()
    assert queue.stats_calls == 1
    assert first[0] is second[0]
    assert first[0] is not None
    assert first[0].destinations["main"].queued == 1


async def test_a_queue_that_cannot_say() -> None:
    """While the storage fails, the looks go on without accounts, and with them afterwards."""
    queue, seen = WatchedQueue(), list[QueueStats | None]()
    queue.error = StorageError("the disk is gone")
    going = Rounds(queue, [seen.append], Recording())
    await going.once()
    queue.error = None
    await going.once()
    assert [found is None for found in seen] == [True, False]


async def test_a_bug_in_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that raises is told of as a bug; the others and the next rounds go on."""
    monkeypatch.setattr(rounds, "_SECONDS", 0.001)
    recording, seen, twice = Recording(), list[QueueStats | None](), asyncio.Event()

    def fails(_stats: QueueStats | None) -> None:
        raise ZeroDivisionError

    def looks(stats: QueueStats | None) -> None:
        seen.append(stats)
        if len(seen) == 2:
            twice.set()

    task = asyncio.create_task(Rounds(WatchedQueue(), [fails, looks], recording).run())
    async with asyncio.timeout(10):
        await twice.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    told = recording.facts[0]
    assert isinstance(told, Notice)
    assert told.key == "round.failed"
    assert "fails" in told.details["look"]
    assert isinstance(told.error, ZeroDivisionError)
