"""What is told of the transactions that the executor makes."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from forwarder.model import Limits
from forwarder.observe.facts import Committed
from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue
from tests.observe.recording import Recording
from tests.queue.building import segment


async def test_each_transaction_that_is_durable_is_told(tmp_path: Path) -> None:
    """A commit is told with how many events and bytes it accepted, and how long it took."""
    observer, began = Recording(), monotonic()

    async with await SqliteQueue.open(tmp_path / "queue.db", observer, max_bytes=64 << 20) as queue:
        await queue.configure({"main": Share()})
        observer.facts.clear()
        pieces = [segment(0, 3), segment(3, 2)]
        await queue.append(pieces)
        (committed,) = observer.facts
        assert isinstance(committed, Committed)
        assert committed[:2] == (5, sum(len(piece.data) for piece in pieces))
        assert 0 < committed.seconds < monotonic() - began
        (batch,) = await queue.take("main", Limits(10, 1 << 20))
        await queue.settle(batch)
        # What only takes events away brings none.
        assert [fact[:2] for fact in observer.facts[1:]] == [(0, 0)]
