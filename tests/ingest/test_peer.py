"""What the kernel knows of a client: real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from forwarder.ingest.peer import has_ended, has_more, is_hung_up, keep_alive, take_no_more


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a unix connection: ours and the client's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        yield ours, theirs


def test_what_is_there(pair: tuple[socket.socket, socket.socket]) -> None:
    """Bytes, the end of one side and the end of both are three things, whatever is still to be read."""
    ours, theirs = pair
    assert (has_more(ours), has_ended(ours), is_hung_up(ours)) == (False, False, False)
    theirs.send(b"x")
    assert (has_more(ours), has_ended(ours), is_hung_up(ours)) == (True, False, False)
    theirs.shutdown(socket.SHUT_WR)
    assert (has_more(ours), has_ended(ours), is_hung_up(ours)) == (True, True, False)
    theirs.close()
    assert (has_more(ours), has_ended(ours), is_hung_up(ours)) == (True, True, True)


def test_take_no_more(pair: tuple[socket.socket, socket.socket]) -> None:
    """A client can send nothing more, what it has sent can be read, and it can be answered."""
    ours, theirs = pair
    theirs.send(b"x")
    take_no_more(ours)
    with pytest.raises(BrokenPipeError):
        theirs.send(b"y")
    assert (ours.recv(9), ours.recv(9)) == (b"x", b"")
    ours.send(b"z")
    assert theirs.recv(9) == b"z"


def test_keep_alive() -> None:
    """The kernel is asked to find TCP clients that have vanished without a word."""
    with socket.socket() as ours:
        keep_alive(ours)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
