"""What `send` sends to in tests: the real intake over a queue in memory, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog.testing
from aiohttp import web

from forwarder.envelope import Envelope
from forwarder.errors import ForwarderError
from forwarder.ingest.http import HttpIntake
from forwarder.ingest.intake import Intake
from forwarder.ingest.stream import StreamIntake
from forwarder.model import Address, DeadSegment, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Appended
from forwarder.web.access import Access
from forwarder.web.listening import listen
from tests.fixtures import PATIENCE
from tests.queue.watched import WatchedQueue


class FillingQueue(WatchedQueue):
    """A queue that refuses events as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[ForwarderError] = []
        self.appends: list[int] = []

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        if self.refusals:
            raise self.refusals.pop()
        self.appends.append(sum(segment.events for segment in segments))
        return await super().append(segments, dead)

    async def wait_space(self, timeout: float) -> None:
        await asyncio.sleep(0.01)


@dataclass
class Receiving:
    """An intake that listens: over HTTP at one socket, as a stream at another."""

    queue: FillingQueue
    http: Address
    stream: Address


@contextlib.contextmanager
def receiving(tmp_path: Path, *, token: str | None = None, tcp: bool = False) -> Iterator[Receiving]:
    """Serve the real intake beside a synchronous test; an event may have 1,000 bytes."""
    queue = FillingQueue()
    started: list[Receiving] = []
    loops: list[asyncio.AbstractEventLoop] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        intake = Intake(queue, Envelope(routes={"main": {}}, max_event_bytes=1000), Logs())
        local = Address(host="127.0.0.1", port=0)
        http = listen(local if tcp else Address(path=str(tmp_path / "http.sock")))
        stream = listen(local if tcp else Address(path=str(tmp_path / "stream.sock")))
        http_access, stream_access = (
            Access(listener.address, listener.reach, token=token, allow_uids=frozenset()) for listener in (http, stream)
        )
        runner = web.ServerRunner(HttpIntake(intake, max_request_bytes=2_000_000).server(http_access))
        await runner.setup()
        await web.SockSite(runner, http.socket).start()
        streams = StreamIntake(intake, max_event_bytes=1000)
        server = await streams.serve(stream, stream_access)
        started.append(Receiving(queue, http.address, stream.address))
        ready.set()
        await stop.wait()
        server.close()
        await streams.stop()
        await runner.cleanup()
        http.close()
        stream.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    with structlog.testing.capture_logs():
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield started[0]
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)


@contextlib.contextmanager
def scripted(path: Path, *scripts: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection after the other, each by its own script, and then no more."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for script in scripts:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(10)
                    script(connection)
        except BaseException as error:
            failed.append(error)
        finally:
            server.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"unix:{path}"
    finally:
        thread.join(PATIENCE)
    assert not failed, failed


def event(number: int, **fields: object) -> dict[str, object]:
    return {"eventSourceId": "app", "eventType": "x", "n": number, **fields}


def ndjson(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def numbers(received: Receiving) -> list[int]:
    return [json.loads(line)["n"] for line in received.queue.queued()]
