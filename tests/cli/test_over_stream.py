"""How `send` speaks to the stream: what it makes of acks, refusals, silence and strangers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forwarder.errors import UnavailableError
from tests.cli.console import run
from tests.cli.intake import Receiving, event, ndjson, numbers, scripted


def test_refusals_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What a daemon says of an event is shown, not obeyed."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"refused":1,"status":422,"detail":"\\u001b[2J"}\n{"ack":1}\n')
        assert connection.recv(10) == b""

    with scripted(tmp_path / "s", refuse) as address:
        assert run("send", "--to", address, stdin=b"{}").err == "line 1: 422 \\u001b[2J\n"


def test_full_queue_over_the_stream(intake: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is not read waits, says so, and goes on."""
    monkeypatch.setattr("forwarder.cli.over_stream._SLOW", 0.05)
    monkeypatch.setattr("forwarder.cli.over_stream._FIRST_ANSWER", 0.05)
    intake.queue.refusals = [UnavailableError("full")] * 30
    ended = run("send", "--to", str(intake.stream), stdin=ndjson(*map(event, range(2000))))
    assert (ended.code, ended.out) == (0, "2,000 events accepted\n")
    assert ended.err == "waiting: the daemon takes no more events just now: `forwarder status` says why\n"
    assert numbers(intake) == list(range(2000))


def test_stream_is_lost(tmp_path: Path) -> None:
    """A stream that breaks says how many events are stored durably and which line comes next."""

    def script(connection: socket.socket) -> None:
        received = b""
        while received.count(b"\n") < 5:
            received += connection.recv(65536)
            if received.count(b"\n") == 1:
                connection.sendall(b'{"ack":1}\n')
        connection.sendall(b'{"refused":2,"status":422,"detail":"no"}\n{"refused":4,"status":422,"detail":"no"}\n')
        connection.sendall(b'{"ack":3}\n')

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"\n\n" + b"{}\n" * 5)
    assert (ended.code, ended.out) == (69, "")
    assert ended.err.splitlines()[:4] == [
        "line 4: 422 no",
        "line 6: 422 no",
        "2 events stored durably, line 6 comes next",
        f"forwarder: {address}: the connection was lost",
    ]
    assert ended.err.splitlines()[4].startswith("hint: send again from line 6 on;")


def test_stream_is_lost_while_input_is_open(tmp_path: Path) -> None:
    """A daemon that goes away is noticed also while nothing comes from the input."""
    reading, writing = os.pipe()
    os.write(writing, b"{}\n")

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b'{"ack":1}\n')

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=reading)
    os.close(writing)
    assert ended.code == 69
    assert "1 event stored durably, line 2 comes next\n" in ended.err


def test_stream_is_reset(tmp_path: Path) -> None:
    """A daemon that dies with events unread is a lost connection, never a traceback."""

    def script(connection: socket.socket) -> None:
        connection.recv(1)

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"{}\n" * 100_000)
    assert ended.code == 69
    assert ended.err.startswith(f"forwarder: {address}: the connection was lost\n")


@pytest.mark.parametrize("answer", [b'{"ack":7}\n', b"hello\n", b'{"ack":"x"}\n', b"[]\n", b"{}\n", b"x" * 2_000_000])
def test_something_else_answers(tmp_path: Path, answer: bytes) -> None:
    """An address at which something else answers is said to be the wrong one."""

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        try:
            connection.sendall(answer)
        except OSError:
            assert len(answer) > 1_000_000

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"{}\n")
    assert ended.code == 69
    assert "is not a stream socket of a forwarder" in ended.err
