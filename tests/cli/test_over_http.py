"""How `send` speaks HTTP: requests of a bounded size, and waits that are."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from forwarder.cli.over_http import lots, seconds_of
from forwarder.cli.splitter import Chunk
from forwarder.errors import UnavailableError
from tests.cli.console import Ended, run
from tests.cli.intake import Receiving, event, ndjson, numbers, scripted


def test_full_queue_over_http(intake: Receiving) -> None:
    """While the queue is full the request is sent again after Retry-After, and that is said once."""
    intake.queue.refusals = [UnavailableError("no room")] * 2
    started = time.monotonic()
    ended = run("send", "--to", f"http+{intake.http}", stdin=ndjson(event(1)))
    assert ended == Ended(0, "1 event accepted\n", "waiting: no room; trying again every 1s\n")
    assert time.monotonic() - started >= 2.0
    assert numbers(intake) == [1]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 1.0), ("7", 7.0), ("0", 1.0), ("9" * 400, 60.0), ("soon", 1.0), ("-5", 1.0), ("²", 1.0)],
)
def test_retry_after_is_not_believed_blindly(header: str | None, seconds: float) -> None:
    """Retry-After is bounded on both sides, and what is no number of seconds means a second."""
    assert seconds_of(header) == seconds


ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


def test_http_is_lost(tmp_path: Path) -> None:
    """HTTP that breaks off between requests says how many events are stored and which line comes next."""

    def script(connection: socket.socket) -> None:
        received = b""
        while received.count(b"{}\n") < 1000:
            received += connection.recv(65536)
        connection.sendall(ACCEPTED)
        connection.recv(100)

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", f"http+{address}", stdin=b"{}\n" * 1500)
    assert ended.code == 69
    assert "1,000 events stored durably, line 1001 comes next\n" in ended.err


def test_idle_http_connection(intake: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle is not relied on: the server may be closing it."""
    monkeypatch.setattr("forwarder.cli.over_http._MAX_IDLE", 0.0)
    ended = run("send", "--to", f"http+{intake.http}", stdin=ndjson(*map(event, range(2500))))
    assert ended.out == "2,500 events accepted\n"


def test_refused_by_http(tmp_path: Path) -> None:
    """An answer that is about no event ends the command with the daemon's words."""

    def script(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"{}\n"):
            request += connection.recv(1000)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", f"http+{address}", stdin=b"{}\n")
    assert (ended.code, ended.err) == (1, f"forwarder: {address} answered 404: without a word\n")


def test_lots() -> None:
    """A request holds at most a thousand events and four megabytes; a larger event goes alone."""
    chunk = Chunk(b"{}\n" * 2500, 2500, 1)
    assert [(lot[0].number, len(lot)) for lot in lots(chunk)] == [(1, 1000), (1001, 1000), (2001, 500)]
    large = b"x" * 3_000_000 + b"\n"
    assert [[line.number for line in lot] for lot in lots(Chunk(large * 2 + b"{}\n", 3, 5))] == [[5], [6, 7]]
