"""The one way into the queue."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

import pytest

from forwarder.envelope import Envelope
from forwarder.errors import DiskFullError, QueueFullError, ShareFullError, ShuttingDownError
from forwarder.ingest.intake import Intake
from forwarder.observe.facts import Accepted, Peer, Refused
from forwarder.observe.logs import Logs
from tests.ingest.serving import StubbornQueue, connect, lines, serving
from tests.observe.recording import Recording


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


async def test_what_is_accepted_is_told() -> None:
    """What came together is one fact, with its way, sizes and seconds; what the queue does not take is none."""
    queue, observer = StubbornQueue(), Recording()
    intake = Intake(queue, Envelope(routes={"main": {}, "audit": {}}), observer)
    checked, began = intake.envelope.parse_lines(lines(0, 3)), monotonic()
    await intake.accept("http", checked)
    (fact,) = observer.facts
    assert isinstance(fact, Accepted)
    # Once, though two destinations get the same events.
    assert fact[:-1] == ("http", 3, 0, len(lines(0, 3)))
    assert 0 <= fact.seconds <= monotonic() - began
    queue.refusal = QueueFullError("full")
    with pytest.raises(QueueFullError):
        await intake.accept("stream", checked)
    assert observer.facts == [fact]


async def test_what_is_refused_is_told(tmp_path: Path) -> None:
    """A request that is refused is a fact with its way, the problem and the client; so are the lines of a stream."""
    observer, queue = Recording(), StubbornQueue()
    async with serving(tmp_path, queue=queue, observer=observer) as served:
        head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        for kind in (b"application/json", b"text/html"):
            reader, writer = await connect(served.address["http"])
            writer.write(head + b"Content-Type: " + kind + b"\r\nContent-Length: 2\r\n\r\n{}")
            await reader.read()
            writer.close()
        reader, writer = await connect(served.address["stream"])
        writer.write(b"{}\n" + lines(0, 1) + b"{}\n[\n")
        writer.write_eof()
        await reader.read()
        writer.close()
    refused = [fact for fact in observer.facts if isinstance(fact, Refused)]
    assert [fact[:3] for fact in refused[:2]] == [("http", "invalid-event", 1), ("http", "unsupported-media-type", 1)]
    assert {fact[:3] for fact in refused[2:]} == {("stream", "invalid-event", 2), ("stream", "malformed", 1)}
    assert {fact.peer for fact in refused} == {Peer(f"uid {os.getuid()}", os.getpid())}
    details = {fact.problem: fact.detail for fact in refused}
    assert details["unsupported-media-type"].startswith("the content type 'text/html'")
    assert details["invalid-event"].startswith("eventSourceId: is required")
    assert [fact.events for fact in observer.facts if isinstance(fact, Accepted)] == [1]


async def test_who_is_turned_away() -> None:
    """Clients that are told that the queue is full, and streams that wait for room, make it full; nothing else does."""
    queue = StubbornQueue()
    intake = Intake(queue, Envelope(routes={"main": {}, "audit": {}}), Logs())
    for error in (ShuttingDownError("stopping"), DiskFullError("no space")):
        intake.refused("http", error, Peer("somebody", None))
        intake.stopped(error, again=False)
    assert not intake.fullness
    share = ShareFullError("the queue of main is full", "main")
    intake.refused("http", share, Peer("somebody", None))
    intake.stopped(QueueFullError("full"), again=False)
    intake.stopped(QueueFullError("full"), again=True)
    found = intake.fullness.now()
    assert {name: (full.refused, full.stopped) for name, full in found.items()} == {"main": (1, 0), None: (0, 1)}
