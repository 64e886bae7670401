"""Load generators: each sends prepared bytes from a process of its own and says when all was accepted.

They do as little as they can, so that what is measured is the forwarder: requests are built before
the clock starts, sockets are plain, answers are counted and not parsed further than needed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path

SIZE = 430
"""Bytes of an event, near enough."""


def event(number: int, *, with_id: bool = True) -> bytes:
    """Return a compact event of about SIZE bytes."""
    body: dict[str, object] = {"eventSourceId": "bench-app", "eventType": "feature_use"}
    if with_id:
        body["eventId"] = f"00000000-0000-4000-8000-{number:012d}"
    body |= {"eventObjectType": "user", "eventObjectId": f"user-{number % 1000:06d}"}
    body["data"] = {"eventTime": 1_700_000_000_000 + number, "feature": "export", "text": ""}
    rest = SIZE - len(json.dumps(body, separators=(",", ":")))
    body["data"]["text"] = "x" * max(0, rest)  # type: ignore[index]
    return json.dumps(body, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Sent:
    """What a generator saw: seconds from its first byte to the last accept, and each request's latency."""

    began: float
    accepted: float
    latencies: list[float]


def stream(path: Path, count: int) -> Sent:
    """Send `count` events over one stream connection; return when the last ack has come."""
    lines = b"".join(event(number) + b"\n" for number in range(1000))
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    peer.setblocking(False)
    began = time.time()
    left = memoryview(lines * 20)
    whole, offset, sent, acked, answers = left, 0, 0, 0, b""
    total = len(lines) * (count // 1000)
    while acked < count:
        readable, writable, _ = select.select([peer], [peer] if sent < total else [], [], 60)
        if writable:
            step = min(len(whole) - offset, total - sent)
            done = peer.send(whole[offset : offset + step])
            sent += done
            offset = (offset + done) % len(whole)
            if sent == total:
                peer.shutdown(socket.SHUT_WR)
        if readable:
            data = peer.recv(65536)
            if not data:
                break
            answers = (answers + data)[-200:]
            last = answers[: answers.rfind(b"\n")].rsplit(b"\n", 1)[-1]
            acked = json.loads(last)["ack"]
        if not readable and not writable:
            raise TimeoutError("the forwarder takes no more")
    assert acked == count, f"acked {acked} of {count}"
    return Sent(began, time.time(), [])


def lines(path: Path, count: int) -> Sent:
    """Send `count` events over one stream connection to whoever says nothing."""
    text = b"".join(event(number) + b"\n" for number in range(1000))
    with _connected(path) as peer:
        began = time.time()
        for _ in range(count // 1000):
            peer.sendall(text)
    return Sent(began, time.time(), [])


def arrays(path: Path, count: int, *, size: int, connections: int) -> Sent:
    """Post arrays of `size` events over kept-alive connections, one request at a time on each."""
    bodies = [b"[" + b",".join(event(number) for number in range(first, first + size)) + b"]" for first in (0, size)]
    return _post([_request(body) for body in bodies], path, count // size, connections)


def singles(path: Path, count: int, *, connections: int) -> Sent:
    """Post one event a request over kept-alive connections."""
    return _post([_request(event(number)) for number in range(100)], path, count, connections)


def _request(body: bytes) -> bytes:
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + body


def _connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    return peer


def _post(requests: list[bytes], path: Path, count: int, connections: int) -> Sent:
    peers = {peer.fileno(): peer for peer in (_connected(path) for _ in range(connections))}
    poll = select.poll()
    began, sent, answered = time.time(), 0, 0
    for number, peer in peers.items():
        poll.register(number, select.POLLIN)
        if sent < count:
            peer.sendall(requests[sent % len(requests)])
            sent += 1
    while answered < count:
        for number, _ in poll.poll(60_000) or [(-1, 0)]:
            if number < 0:
                raise TimeoutError("the forwarder does not answer")
            answer = peers[number].recv(65536)
            assert answer.startswith(b"HTTP/1.1 202"), answer
            answered += 1
            if sent < count:
                peers[number].sendall(requests[sent % len(requests)])
                sent += 1
    return Sent(began, time.time(), [])


def paced(path: Path, count: int, *, rate: float) -> Sent:
    """Post single events at a fixed rate; each latency counts from the moment it was meant to be sent.

    A pool of connections large enough that a slow answer does not delay the next request.
    """
    request = _request(event(1))
    idle = [_connected(path) for _ in range(64)]
    busy: dict[socket.socket, float] = {}
    began = time.monotonic()
    wall, latencies, sent = time.time(), list[float](), 0
    while len(latencies) < count:
        due = began + sent / rate
        now = time.monotonic()
        if sent < count and now >= due and idle:
            peer = idle.pop()
            peer.sendall(request)
            busy[peer] = due
            sent += 1
            continue
        # Not poll: it waits whole milliseconds, and what is sent late counts as latency.
        wait = max(0.0, due - now) if sent < count else 10.0
        for peer in select.select(list(busy), [], [], min(wait, 10.0))[0]:
            meant = busy.pop(peer)
            assert peer.recv(65536).startswith(b"HTTP/1.1 202")
            latencies.append(time.monotonic() - meant)
            idle.append(peer)
    return Sent(wall, time.time(), latencies)


def in_process(
    act: object, *args: object, **kwargs: object
) -> tuple[multiprocessing.Process, multiprocessing.Queue[Sent]]:
    """Run a generator in a process of its own; its result comes through the queue."""
    results: multiprocessing.Queue[Sent] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_run, args=(results, act, args, kwargs), daemon=True)
    process.start()
    return process, results


def _run(
    results: multiprocessing.Queue[Sent], act: object, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    results.put(act(*args, **kwargs))  # type: ignore[operator]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    """Return the most memory that a process ever had resident, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in the status of the process")
