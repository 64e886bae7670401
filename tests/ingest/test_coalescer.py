"""Requests of one moment are stored together, and each is answered for itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forwarder.envelope import Checked, Envelope
from forwarder.errors import DiskFullError, QueueFullError, ShuttingDownError, StorageError, TooLargeError
from forwarder.model import DeadSegment, Segment
from forwarder.queue.base import Appended
from tests.fixtures import PATIENCE, Logs
from tests.ingest.http_client import answer, ask, body, clients, raw
from tests.ingest.serving import Serving, StubbornQueue, connect, event, serving
from tests.queue.watched import WatchedQueue


class Choosy(WatchedQueue):
    """A queue in memory that is full for more than one event."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.fault = error
        self.refused = 0
        self.ids: list[str] = []
        """Those of the events that it refused, and of those that it took at once."""

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        found = [json.loads(line)["eventId"] for segment in segments for line in segment.data.splitlines()]
        self.ids += [found_id for found_id in found if found_id not in self.ids]
        if sum(segment.events for segment in segments) > 1:
            self.refused += 1
            raise self.fault
        return await super().append(segments, dead)


class Forgetful(WatchedQueue):
    """A queue in memory that stores what it is given and then fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.fault = error
        self.failures = 0

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        await super().append(segments, dead)
        self.failures += 1
        raise self.fault


class TestRefused:
    @pytest.mark.parametrize("error", [QueueFullError("full"), TooLargeError("can never fit")])
    async def test_what_does_not_fit_together(self, tmp_path: Path, error: Exception) -> None:
        """Events that cannot be stored together are stored one by one."""
        queue = Choosy(error)
        async with serving(tmp_path, queue=queue) as server, clients(server, 10) as found:
            said = await asyncio.gather(*(ask(one, raw(body(n))) for n, one in enumerate(found)))
            assert [status for status, _, _ in said] == [202] * 10
            assert sorted(await server.stored()) == list(range(10))
            # Nobody was turned away.
            assert not server.intake.fullness
        assert queue.refused

    async def test_ids_that_were_given(self, tmp_path: Path) -> None:
        """An event that is tried again by itself keeps the id that it was given when it was tried with others."""
        queue = Choosy(QueueFullError("full"))
        anonymous = b'{"eventSourceId":"s","eventType":"t"}'
        async with serving(tmp_path, queue=queue) as server, clients(server, 5) as found:
            said = await asyncio.gather(*(ask(one, raw(anonymous)) for one in found))
            assert [status for status, _, _ in said] == [202] * 5
        ids = [json.loads(stored)["eventId"] async for stored in queue.peek("main", None)]
        assert sorted(ids) == sorted(queue.ids)

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (RuntimeError("a bug"), 500),
            (StorageError("the disk failed"), 503),
            (DiskFullError("no space"), 503),
            (ShuttingDownError("stopping"), 503),
        ],
    )
    async def test_a_failure_after_the_commit(self, tmp_path: Path, logs: Logs, error: Exception, status: int) -> None:
        """Events that were stored before something failed are not stored again, whatever it is; each is told."""
        queue = Forgetful(error)
        async with serving(tmp_path, queue=queue) as server, clients(server, 10) as found:
            said = await asyncio.gather(*(ask(one, raw(body(n))) for n, one in enumerate(found)))
            assert [found for found, _, _ in said] == [status] * 10
            assert sorted(await server.stored()) == list(range(10))
            assert (await ask(found[0], raw(body(10))))[0] == status
        # One line for all that failed together: what fails is the storage, not each of them.
        assert len(logs) <= queue.failures
        assert {found["event"] for found in logs} == ({"intake.failed"} if status == 500 else set())
        logs.clear()

    async def test_a_full_queue(self, tmp_path: Path, handed_over: list[bytes]) -> None:
        """While the queue is full every one is told so, and when to come again; then they are served."""
        queue = StubbornQueue(QueueFullError("the queue is full"))
        async with serving(tmp_path, queue=queue) as server, clients(server, 5) as found:
            said = await asyncio.gather(*(ask(one, raw(body(0))) for one in found))
            for status, headers, problem in said:
                assert (status, headers["retry-after"], problem["status"]) == (503, "5", 503)
            queue.relent()
            assert [(await ask(one, raw(body(0))))[0] for one in found] == [202] * 5
        assert handed_over == []

    async def test_a_bug(self, tmp_path: Path, logs: Logs) -> None:
        """Where the forwarder fails over one event, its client is told, and the others are served."""

        class Faulty(Envelope):
            def sift(self, data: bytes) -> tuple[Checked, list[Any], bytes]:
                if b"boom" in data:
                    raise RuntimeError("a secret of the inside")
                return super().sift(data)

            def glance(self, body: bytes, *, are_lines: bool) -> Checked | None:
                self.sift(body + b"\n")
                return super().glance(body, are_lines=are_lines)

        boom = json.dumps({**event(1), "x": "boom"}).encode()
        async with serving(tmp_path, envelope=Faulty(routes={"main": {}})) as server, clients(server, 4) as found:
            bodies = [body(0), boom, body(2), body(3)]
            said = await asyncio.gather(*(ask(one, raw(sent)) for one, sent in zip(found, bodies, strict=True)))
            assert [status for status, _, _ in said] == [202, 500, 202, 202]
            assert "secret" not in said[1][2]["detail"]
            assert sorted(await server.stored()) == [0, 2, 3]
        assert [(found["event"], found["path"]) for found in logs] == [("intake.failed", "/v1/events")]
        logs.clear()

    async def test_too_many_at_once(self, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no more room in memory, clients are told to come again."""
        monkeypatch.setattr("forwarder.ingest.admission._MAX_BYTES", 0)
        monkeypatch.setattr("forwarder.ingest.admission.LARGE_BYTES", 0)
        held = served.http._admission.count(0, 1000)
        async with clients(served, 2) as found:
            said = await asyncio.gather(*(ask(one, raw(body(0))) for one in found))
            assert [(status, problem["type"][-4:]) for status, _, problem in said] == [(503, "busy")] * 2
            served.http._admission.free(held)
            assert (await ask(found[0], raw(body(0))))[0] == 202


class SlowQueue(WatchedQueue):
    """A queue in memory that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go = asyncio.Event()

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        await self.may_go.wait()
        return await super().append(segments, dead)


class TestStop:
    async def test_answers_that_are_waited_for(self, tmp_path: Path) -> None:
        """At a stop what was taken is stored and answered; who has nothing under way is hung up on."""
        queue = SlowQueue()
        async with serving(tmp_path, queue=queue) as server:
            (busy, idle, part) = [await connect(server.address["http"]) for _ in range(3)]
            part[1].write(raw(body(1))[:-3])
            busy[1].write(raw(body(0)))
            await asyncio.sleep(0.02)
            busy[1].write(raw(body(2)))
            asyncio.get_running_loop().call_later(0.1, queue.may_go.set)
        assert (await answer(busy))[0] == 202
        for reader, writer in (busy, idle, part):
            assert await reader.read() == b""
            writer.close()
        assert [json.loads(found)["data"]["n"] async for found in queue.peek("main", None)] == [0]

    async def test_a_queue_that_hangs(self, tmp_path: Path) -> None:
        """A stop does not wait for ever."""
        async with asyncio.timeout(PATIENCE):
            async with serving(tmp_path, queue=SlowQueue()) as server:
                ours = await connect(server.address["http"])
                ours[1].write(raw(body(0)))
                await asyncio.sleep(0.02)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await answer(ours)
        ours[1].close()
