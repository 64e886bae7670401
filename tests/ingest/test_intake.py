"""The one way into the queue."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.envelope import Envelope
from forwarder.errors import QueueFullError, ShuttingDownError
from forwarder.ingest.intake import Intake
from forwarder.observe.logs import Logs
from tests.ingest.serving import StubbornQueue, lines


async def test_accept() -> None:
    """Events are in the queue once they are accepted; an error of the queue reaches the client's side."""
    queue = StubbornQueue()
    intake = Intake(queue, Envelope(routes={"main": {}, "audit": {}}), Logs())
    checked = intake.envelope.parse_lines(lines(0, 3))
    await intake.accept("stream", checked)
    assert {name: len(queue.queued(name)) for name in queue.accounts} == {"main": 3, "audit": 3}
    queue.refusal = QueueFullError("full")
    with pytest.raises(QueueFullError):
        await intake.accept("stream", checked)
    waiting = asyncio.ensure_future(intake.wait_space(5))
    await asyncio.sleep(0)
    queue.relent()
    await waiting


async def test_close() -> None:
    """Once it is closed nothing is accepted any more."""
    queue = StubbornQueue()
    intake = Intake(queue, Envelope(routes={"main": {}}), Logs())
    intake.close()
    with pytest.raises(ShuttingDownError):
        await intake.accept("stream", intake.envelope.parse_lines(lines(0, 1)))
    assert queue.attempts == 0
