"""Who can connect to a socket that is bound."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forwarder.errors import ExposedError
from forwarder.model import Address
from forwarder.web.reach import Reach, reach_of, refuse_exposed


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("127.0.0.1", Reach.MACHINE),
        ("127.9.9.9", Reach.MACHINE),
        ("0.0.0.0", Reach.NETWORK),
        ("::1", Reach.MACHINE),
        ("::", Reach.NETWORK),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("::ffff:0.0.0.0", Reach.NETWORK),
    ],
)
def test_tcp(host: str, reach: Reach) -> None:
    """The address that the kernel names decides, written as IPv4, IPv6, or IPv4 within IPv6."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))
        assert reach_of(bound) is reach


def test_not_bound() -> None:
    """A socket that is bound to nothing would get any address."""
    with socket.socket() as bound:
        assert reach_of(bound) is Reach.NETWORK


def test_other_families() -> None:
    """What is not known counts as reached by everybody."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as bound:
        assert reach_of(bound) is Reach.NETWORK


@pytest.mark.parametrize(
    ("mode", "reach"),
    [(0o600, Reach.FILE), (0o660, Reach.FILE), (0o664, Reach.FILE), (0o666, Reach.MACHINE), (0o602, Reach.MACHINE)],
)
def test_file(tmp_path: Path, mode: int, reach: Reach) -> None:
    """A file that everybody may write to keeps nobody out; systemd makes such sockets where no SocketMode= is set."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.chmod(mode)
        assert reach_of(bound) is reach


@pytest.mark.parametrize("instead", ["nothing", "file"])
def test_a_file_that_is_gone(tmp_path: Path, instead: str) -> None:
    """Where the file is not there to be looked at, nothing is known of who may open it."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.unlink()
        if instead == "file":
            path.touch(mode=0o600)
        assert reach_of(bound) is Reach.MACHINE


def test_abstract() -> None:
    """A name in the abstract namespace has no mode: everybody on the machine can connect."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(b"\0forwarder-" + os.urandom(8).hex().encode())
        assert reach_of(bound) is Reach.MACHINE


def test_refuse_exposed() -> None:
    """Only what other machines reach is refused, with the setting that is missing."""
    address = Address(host="10.0.0.1", port=7710)
    for reach in (Reach.FILE, Reach.MACHINE):
        refuse_exposed(address, reach, "ingest.token_file")
    with pytest.raises(ExposedError, match=r"tcp:10.0.0.1:7710 can be reached from other machines") as caught:
        refuse_exposed(address, Reach.NETWORK, "ingest.token_file")
    assert caught.value.hint.startswith("set ingest.token_file")
    assert caught.value.exit_code == 78
