"""Trying to listen at an address: what the daemon would meet there, and everything left as it was."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forwarder.cli.trial import Occupant, TrialError, try_address
from forwarder.errors import ExposedError, ListenError
from forwarder.model import Address


def attempt(address: Address, *, running: Occupant | None = None, has_token: bool = False) -> str:
    return try_address(
        address, mode=0o660, group=None, has_token=has_token, setting="ingest.token_file", running=running
    )


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_a_free_address(tmp_path: Path) -> None:
    """An address that the daemon could have is named, and no socket is left behind."""
    assert attempt(Address(path=str(tmp_path / "s"))) == f"unix:{tmp_path}/s"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """Without the folder of a socket the daemon could not start; the hint makes it."""
    with pytest.raises(TrialError, match="there is no folder") as found:
        attempt(Address(path=str(tmp_path / "nowhere" / "s")))
    assert found.value.hint == f"Run: mkdir -p {tmp_path}/nowhere"


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    """A socket at which nobody listens any more is said to be that, and stays for the daemon to replace."""
    path = tmp_path / "s"
    listening(path).close()
    assert attempt(Address(path=str(path))) == f"unix:{path}, left behind by a process that is gone"
    assert path.is_socket()


def test_somebody_else_listens(tmp_path: Path) -> None:
    """An address that another process has cannot be had; its socket stays, and still answers."""
    path = tmp_path / "s"
    with listening(path):
        with pytest.raises(ListenError, match="another process listens there"):
            attempt(Address(path=str(path)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_the_running_daemon_is_known_by_its_note(tmp_path: Path) -> None:
    """What the daemon has noted as its own is its own, whichever process answers there."""
    path = tmp_path / "s"
    with listening(path):
        running = Occupant(4242, frozenset([f"unix:{path}"]))
        assert attempt(Address(path=str(path)), running=running) == f"unix:{path}, of the running daemon (process 4242)"


@pytest.mark.parametrize(("offset", "is_daemon"), [(0, True), (1, False)])
def test_the_running_daemon_is_known_by_its_process(tmp_path: Path, offset: int, is_daemon: bool) -> None:
    """A unix socket that is not noted belongs to the daemon exactly if its process is the one that listens."""
    path = tmp_path / "s"
    running = Occupant(os.getpid() + offset, frozenset())
    with listening(path):
        if is_daemon:
            assert "of the running daemon" in attempt(Address(path=str(path)), running=running)
        else:
            with pytest.raises(ListenError, match="another process listens there"):
                attempt(Address(path=str(path)), running=running)


@pytest.mark.parametrize(("noted", "is_daemon"), [((), True), (("tcp:127.0.0.1:1",), False)])
def test_tcp_is_believed_only_without_a_note(noted: tuple[str, ...], is_daemon: bool) -> None:
    """Nobody can tell who listens at a port: a daemon without a note is believed, one that has noted others is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        running = Occupant(4242, frozenset(noted))
        if is_daemon:
            assert attempt(address, running=running) == f"{address}, of the running daemon (process 4242)"
        else:
            with pytest.raises(ListenError, match="another process listens there"):
                attempt(address, running=running)


def test_an_exposed_address_needs_a_token() -> None:
    """What other machines reach is refused without a token, as at a start."""
    address = Address(host="0.0.0.0", port=0)
    with pytest.raises(ExposedError):
        attempt(address)
    assert attempt(address, has_token=True) == str(address)
