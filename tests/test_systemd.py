"""What systemd passes and is told, with real sockets and real descriptors."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import structlog.testing

from forwarder.errors import ListenError
from forwarder.systemd import Notifier, listening_sockets

# Does what a service does with its descriptors, once they stand where systemd puts them.
_SERVICE = """
import json, os, sys
given = [int(number) for number in sys.argv[1].split(",")]
moved = [os.dup(number) for number in given]
for place, number in enumerate(moved, 3):
    os.dup2(number, place)
os.environ["LISTEN_PID"] = str(os.getpid())
from forwarder.errors import ListenError
from forwarder.systemd import listening_sockets
try:
    found = listening_sockets(os.environ)
except ListenError as error:
    sys.exit(error.message)
print(json.dumps([
    [name, passed.fileno(), str(passed.getsockname()), os.get_inheritable(passed.fileno()), passed.getblocking()]
    for name, passed in found
]))
"""


def run_service(*descriptors: int, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start a process with these descriptors and let it find its sockets."""
    return subprocess.run(
        [sys.executable, "-c", _SERVICE, ",".join(map(str, descriptors))],
        pass_fds=descriptors,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_sockets_are_found_by_name(tmp_path: Path) -> None:
    """Descriptors from 3 on are sockets with their names, do not block, and are not inherited further."""
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
        unix.bind(str(tmp_path / "s.sock"))
        tcp.bind(("127.0.0.1", 0))
        done = run_service(unix.fileno(), tcp.fileno(), LISTEN_FDS="2", LISTEN_FDNAMES="http:stream")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [
            ["http", 3, str(tmp_path / "s.sock"), False, False],
            ["stream", 4, str(tcp.getsockname()), False, False],
        ]


def test_sockets_without_names(tmp_path: Path) -> None:
    """A socket without a name has an empty one."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s.sock"))
        done = run_service(unix.fileno(), unix.fileno(), LISTEN_FDS="2", LISTEN_FDNAMES="http")
    assert [name for name, *_ in json.loads(done.stdout)] == ["http", ""]


def test_a_descriptor_that_is_no_socket(tmp_path: Path) -> None:
    """A descriptor that is no socket is refused with its number and name."""
    with (tmp_path / "file").open("w") as file:
        done = run_service(file.fileno(), LISTEN_FDS="1", LISTEN_FDNAMES="http")
    assert done.returncode == 1
    assert done.stderr == "descriptor 3 (http), passed by systemd, is no socket: Socket operation on non-socket\n"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_no_sockets(environ: dict[str, str]) -> None:
    """Without systemd, or with variables that were meant for another process, nothing is taken."""
    assert listening_sockets(environ) == []


def test_a_descriptor_that_is_not_open() -> None:
    """A promise of descriptors that are not there is an error, too."""
    with pytest.raises(ListenError, match=r"descriptor 9999 \(without a name\), .*Bad file descriptor") as caught:
        listening_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}, first=9999)
    assert "Sockets=" in caught.value.hint


@pytest.mark.parametrize("is_abstract", [False, True])
def test_notification(tmp_path: Path, is_abstract: bool) -> None:
    """Assignments arrive as lines of one datagram, at a path or in the abstract namespace."""
    name = f"@forwarder-{secrets.token_hex(8)}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if is_abstract else name)
        manager.settimeout(10)
        Notifier({"NOTIFY_SOCKET": name}).send("READY=1", "STATUS=Hörend")
        assert manager.recv(4096) == "READY=1\nSTATUS=Hörend".encode()


def test_no_service_manager() -> None:
    """Without a service manager, telling it something does nothing."""
    notifier = Notifier({})
    notifier.send("READY=1")
    assert notifier.watchdog_seconds is None


def test_a_manager_that_does_not_listen(tmp_path: Path) -> None:
    """A service manager that is gone stops nobody; it is logged once, and again after it was there again."""
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    with structlog.testing.capture_logs() as logs:
        notifier.send("WATCHDOG=1")
        notifier.send("WATCHDOG=1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            notifier.send("WATCHDOG=1")
        notifier.send("WATCHDOG=1")
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("systemd.not_told", "No such file or directory"),
        ("systemd.not_told", "Connection refused"),
    ]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    """The watchdog's interval is in seconds, and only where it is meant for this process."""
    assert Notifier(environ).watchdog_seconds == seconds
