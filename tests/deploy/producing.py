"""Producers that keep sending through a socket whatever happens behind it, as an application does."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# As long as a request may wait for a daemon that is being restarted.
_PATIENCE = 60.0


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "eventSourceId": "app",
        "eventType": "login",
        "eventId": str(uuid.uuid4()),
        "data": {"n": number},
        **fields,
    }


def connect(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(_PATIENCE)
    peer.connect(str(path))
    return peer


def post(path: Path, events: list[dict[str, Any]]) -> int:
    """Post events on a connection of their own; return the status. Raises OSError, also where no answer comes."""
    body = json.dumps(events).encode()
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connect(path) as peer:
        peer.sendall(head.encode() + body)
        answer = peer.makefile("rb").readline()
    if not answer:
        raise ConnectionResetError("no answer")
    return int(answer.split()[1])


def stream(path: Path, events: list[dict[str, Any]]) -> None:
    """Send events a line each and wait until all are acked. Raises OSError."""
    with connect(path) as peer:
        peer.sendall(b"".join(json.dumps(event).encode() + b"\n" for event in events))
        for line in peer.makefile("rb"):
            answer = json.loads(line)
            assert "refused" not in answer, answer
            if answer["ack"] == len(events):
                return
    raise ConnectionResetError("closed before all was acked")


class Producer(threading.Thread):
    """Sends ten events at a time until it is told to stop; what was not accepted is sent again."""

    def __init__(self, path: Path, send: Callable[[Path, list[dict[str, Any]]], int | None]) -> None:
        super().__init__(name=f"producer {path.name}")
        self.accepted: list[str] = []
        self.not_connected: list[str] = []
        """What was said to a connection that was not taken."""
        self.broken = 0
        self.failure: BaseException | None = None
        self._path = path
        self._send = send
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_wanted.is_set():
                self._hand_in([event(len(self.accepted) + place) for place in range(10)])
        except BaseException as error:
            self.failure = error

    def _hand_in(self, events: list[dict[str, Any]]) -> None:
        """Send the same events until they are accepted."""
        while not self._stop_wanted.is_set():
            try:
                status = self._send(self._path, events)
            except (ConnectionRefusedError, FileNotFoundError) as error:
                self.not_connected.append(str(error))
            except OSError:
                self.broken += 1
            else:
                # 503 is what a daemon says that is stopping.
                assert status in {None, 202, 503}, status
                if status != 503:
                    self.accepted += [event["eventId"] for event in events]
                    return
            self._stop_wanted.wait(0.01)

    def stop(self) -> None:
        self._stop_wanted.set()
        self.join(_PATIENCE)
        assert not self.is_alive(), "it still waits for an answer"
        if self.failure is not None:
            raise self.failure


@contextmanager
def producers(folder: Path) -> Iterator[list[Producer]]:
    """Send through both of the sockets in a folder while the block runs."""
    found = [Producer(folder / "http.sock", post), Producer(folder / "stream.sock", stream)]
    for producer in found:
        producer.start()
    try:
        yield found
    finally:
        for producer in found:
            producer.stop()
