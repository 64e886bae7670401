"""Why an address does not answer."""

from __future__ import annotations

import errno
import http.client
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from forwarder.cli.connection import unreachable
from forwarder.model import Address


def denied(*paths: Path) -> Callable[[Path, int], bool]:
    return lambda path, _mode: path not in paths


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "does not answer in time"),
        (FileNotFoundError(errno.ENOENT, "x"), "there is no such socket"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "nobody listens there"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be resolved: Name or service"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "the connection broke"),
        (http.client.BadStatusLine("x"), "the connection broke"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "Operation not permitted"),
    ],
)
def test_reasons(error: OSError | http.client.HTTPException, words: str) -> None:
    """Each cause is told apart, with the address, and ends in exit code 69."""
    found = unreachable(Address(host="h", port=1), error)
    assert found.message.startswith(("tcp:h:1: ", "tcp:h:1 does"))
    assert words in found.message
    assert found.exit_code == 69


@pytest.mark.parametrize(("keeps_out", "named"), [("run/admin.sock", "run/admin.sock"), ("run", "run")])
def test_who_may_open_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_out: str, named: str) -> None:
    """The first thing on the way that keeps us out is named, with the group to join; ids without names are shown."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "admin.sock").touch()
    if os.geteuid() == 0:
        os.chown(tmp_path / keeps_out, 54321, 54322)
    status = (tmp_path / keeps_out).stat()
    monkeypatch.setattr(os, "access", denied(tmp_path / keeps_out))
    address = Address(path=str(tmp_path / "run" / "admin.sock"))
    found = unreachable(address, PermissionError(errno.EACCES, "Permission denied"))
    assert found.message == f"{address}: permission denied"
    assert found.hint.startswith(f"{tmp_path}/{named} belongs to user ")
    if os.geteuid() == 0:
        assert f"user {status.st_uid} and group {status.st_gid}: join the group (sudo usermod -aG 54322" in found.hint


def test_what_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the owner cannot be found out, the hint is general."""
    monkeypatch.setattr(os, "access", denied(tmp_path / "gone"))
    found = unreachable(Address(path=str(tmp_path / "gone")), PermissionError(errno.EACCES, "x"))
    assert found.hint == "run the command as a user that may open the socket, or use sudo"
