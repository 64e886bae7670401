"""Load generators: each sends prepared bytes from a process of its own and says when all was accepted.

They do as little as they can, so that what is measured is the forwarder: requests are built before
the clock starts, sockets are plain, answers are counted and not parsed further than needed.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forwarder.model import Address
from tests.benchmarks.shapes import SHAPES

# What is sent at a time over a stream is about so much, so that large events need no more memory than small ones.
_CHUNK = 8 << 20


@dataclass(frozen=True)
class Sent:
    """What a generator saw: seconds from its first byte to the last accept, and each request's latency."""

    began: float
    accepted: float
    latencies: list[float]


def stream(where: Address, shape: str, count: int) -> Sent:
    """Send `count` events over one stream connection; return when the last ack has come."""
    lines = SHAPES[shape].lines(1000)
    whole = memoryview(lines * max(1, _CHUNK // len(lines)))
    with connected(where) as peer:
        peer.setblocking(False)
        began = time.time()
        acked = _exchange(peer, whole, len(lines) * (count // 1000), count)
        assert acked == count, f"acked {acked} of {count}"
        return Sent(began, time.time(), [])


def _exchange(peer: socket.socket, whole: memoryview, total: int, count: int) -> int:
    """Send so many bytes, over and over the same ones, and read acks; return the last one."""
    offset, sent, acked, answers = 0, 0, 0, b""
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
    return acked


def lines(where: Address, shape: str, count: int) -> Sent:
    """Send `count` events over one stream connection to a program that answers nothing."""
    text = SHAPES[shape].lines(1000)
    with connected(where) as peer:
        began = time.time()
        for _ in range(count // 1000):
            peer.sendall(text)
    return Sent(began, time.time(), [])


def arrays(where: Address, shape: str, count: int, *, size: int, connections: int) -> Sent:
    """Post arrays of `size` events over kept-alive connections, one request at a time on each."""
    bodies = [SHAPES[shape].array(first, size) for first in (0, size)]
    return _post([_request(body) for body in bodies], where, count // size, connections)


def singles(where: Address, shape: str, count: int, *, connections: int) -> Sent:
    """Post one event a request over kept-alive connections."""
    return _post([_request(SHAPES[shape].event(number)) for number in range(100)], where, count, connections)


def _request(body: bytes) -> bytes:
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + body


def connected(where: Address) -> socket.socket:
    """Return a socket that is connected to a program under test."""
    if where.path is None:
        peer = socket.create_connection((where.host, where.port))
        # A request is written with one call; the last packet of a large one must not wait for an ack (Nagle).
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.connect(where.path)
    except OSError:
        peer.close()
        raise
    return peer


@contextlib.contextmanager
def _pool(where: Address, connections: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(where)) for _ in range(connections)]


def _post(requests: list[bytes], where: Address, count: int, connections: int) -> Sent:
    with _pool(where, connections) as pool:
        began = time.time()
        _post_over({peer.fileno(): peer for peer in pool}, requests, count)
        return Sent(began, time.time(), [])


def _post_over(peers: dict[int, socket.socket], requests: list[bytes], count: int) -> None:
    poll, sent, answered = select.poll(), 0, 0
    for number, peer in peers.items():
        poll.register(number, select.POLLIN)
        if sent < count:
            peer.sendall(requests[sent % len(requests)])
            sent += 1
    while answered < count:
        for number, _ in poll.poll(60_000) or [(-1, 0)]:
            if number < 0:
                raise TimeoutError("no answer within a minute")
            answer = peers[number].recv(65536)
            # Others than the forwarder answer 201. Every answer is so short that it comes in one piece.
            assert answer.startswith(b"HTTP/1.1 20"), answer
            answered += 1
            if sent < count:
                peers[number].sendall(requests[sent % len(requests)])
                sent += 1


def paced(where: Address, shape: str, count: int, *, rate: float) -> Sent:
    """Post single events at a fixed rate; each latency counts from the moment it was meant to be sent.

    A pool of connections large enough that a slow answer does not delay the next request.
    """
    with _pool(where, 64) as pool:
        wall = time.time()
        latencies = _post_paced(pool, _request(SHAPES[shape].event(1)), count, rate)
        return Sent(wall, time.time(), latencies)


def _post_paced(idle: list[socket.socket], request: bytes, count: int, rate: float) -> list[float]:
    """Post over whichever connection is idle; return the seconds that each request took."""
    busy: dict[socket.socket, float] = {}
    began, latencies, sent = time.monotonic(), list[float](), 0
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
    return latencies


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class EndedError(Exception):
    """A program ended before it accepted connections."""


def wait_until_open(where: Address, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a program accepts connections; raise `EndedError` if its process ends first."""
    deadline = time.monotonic() + 30
    while True:
        if process is not None and process.poll() is not None:
            raise EndedError
        try:
            connected(where).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


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
