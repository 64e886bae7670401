"""Why an address does not answer."""

from __future__ import annotations

import errno
import http.client
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from forwarder.cli import connection
from forwarder.cli.connection import is_answered, unreachable
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
    """The first thing on the way that keeps us out is named, with whose it is; nobody is put into a group."""
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
        assert found.hint.endswith(
            f"user {status.st_uid} and group {status.st_gid}: run the command as 54321, or use sudo"
        )


def test_what_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the owner cannot be found out, the hint is general."""
    monkeypatch.setattr(os, "access", denied(tmp_path / "gone"))
    found = unreachable(Address(path=str(tmp_path / "gone")), PermissionError(errno.EACCES, "x"))
    assert found.hint == "run the command as a user that may open the socket, or use sudo"


def test_the_next_step_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd is named where it runs and has the unit, and nowhere else."""
    error = FileNotFoundError(errno.ENOENT, "x")
    address = Address(path="/nowhere")
    monkeypatch.setattr(connection, "_BOOTED", tmp_path)
    monkeypatch.setattr(connection, "_UNITS", (tmp_path,))
    assert unreachable(address, error).hint == "is the daemon running? `forwarder run` starts it"
    (tmp_path / "forwarder.service").touch()
    assert unreachable(address, error).hint == "is the daemon running? `systemctl status forwarder` says"
    monkeypatch.setattr(connection, "_BOOTED", tmp_path / "missing")
    assert "systemctl" not in unreachable(address, error).hint


def test_who_answers(tmp_path: Path) -> None:
    """A socket that nobody listens at any more is not answered, one that may not be opened is."""
    address = Address(path=str(tmp_path / "s.sock"))
    assert not is_answered(address)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address.path or "")
        assert not is_answered(address)
        server.listen()
        assert is_answered(address)
