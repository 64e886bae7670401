"""How commands find the daemon, and what is said when they do not."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.cli.client import AdminClient, why_it_waits
from forwarder.errors import NotReachableError
from forwarder.model import Address
from tests.admin.serving import served_in_thread
from tests.cli.console import run
from tests.cli.settings import config_file, secret_file
from tests.fixtures import PATIENCE


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[str]:
    """Listen at a unix socket and give every connection the same answer."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"unix:{path}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(PATIENCE)


def test_address_from_the_configuration(tmp_path: Path) -> None:
    """Without --admin, the first admin address of the configuration is asked."""
    with served_in_thread(tmp_path, "main") as served:
        file = config_file(tmp_path, f"{{listen: ['{served.address}']}}")
        assert run("queue", "flush", "-c", str(file)).code == 0
        assert served.daemon.told == [("flush", "main")]


def test_no_address(tmp_path: Path) -> None:
    """A configuration without an admin address, and no --admin, is a usage error that says so."""
    ended = run("status", "-c", str(config_file(tmp_path, "{listen: []}")))
    assert ended.code == 2
    assert "--admin ADDRESS" in ended.err


def test_broken_configuration(tmp_path: Path) -> None:
    """A configuration that cannot be used stops a command only if its address is needed."""
    file = tmp_path / "broken.yaml"
    file.write_text("destinations: 7\n")
    assert run("status", "-c", str(file)).code == 78
    with served_in_thread(tmp_path, "main") as served:
        assert run("status", "-c", str(file), "--admin", str(served.address)).code == 0


def test_token_of_the_configuration(tmp_path: Path) -> None:
    """The configured token goes to the configured address, over TCP as well."""
    token = secret_file(tmp_path, "s3cret\n")
    with served_in_thread(tmp_path, "main", token="s3cret", tcp=True) as served:
        file = config_file(tmp_path, f"{{listen: ['{served.address}'], token_file: {token}}}")
        assert run("status", "-c", str(file)).code == 0
        assert run("status", "-c", str(file), "--admin", str(served.address)).code == 0


def test_token_goes_nowhere_else(tmp_path: Path) -> None:
    """The configured token is not shown to an address that the configuration does not name."""
    token = secret_file(tmp_path, "s3cret")
    file = config_file(tmp_path, f"{{listen: ['unix:{tmp_path}/other.sock'], token_file: {token}}}")
    with served_in_thread(tmp_path, "main", token="s3cret") as served:
        ended = run("status", "-c", str(file), "--admin", str(served.address))
        assert ended.code == 1
        assert "a bearer token is required" in ended.err
        assert "hint: give the token: --token-file FILE" in ended.err
        assert run("status", "--admin", str(served.address), "--token-file", str(token)).code == 0


def test_unreadable_token(tmp_path: Path) -> None:
    """A token file that is not there is named, with the exit code of a configuration error."""
    ended = run("status", "--admin", "unix:/nowhere", "--token-file", str(tmp_path / "nope"))
    assert ended.code == 78
    assert f"{tmp_path}/nope" in ended.err


def test_credentials_of_the_service(tmp_path: Path) -> None:
    """A path below $CREDENTIALS_DIRECTORY, which no shell has, does not keep an operator out."""
    with served_in_thread(tmp_path, "main") as served:
        file = config_file(tmp_path, f"{{listen: ['{served.address}']}}")
        file.write_text(file.read_text().replace("/k.pem", "'${CREDENTIALS_DIRECTORY}/key.pem'"))
        assert run("status", "-c", str(file)).code == 0


def test_no_socket(tmp_path: Path) -> None:
    """Where there is no socket, the address is named, and the next step, which is systemd's only where it is there."""
    ended = run("status", "--admin", f"unix:{tmp_path}/admin.sock")
    assert ended.code == 69
    assert ended.err == (
        f"forwarder: unix:{tmp_path}/admin.sock: there is no such socket\n"
        "hint: is the daemon running? `forwarder run` starts it\n"
    )


def test_nobody_listens(tmp_path: Path) -> None:
    """A socket that a dead daemon left behind, and a closed port, are told apart from a missing socket."""
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "admin.sock"))
    stale.close()
    ended = run("status", "--admin", f"unix:{tmp_path}/admin.sock")
    assert (ended.code, "nobody listens there" in ended.err) == (69, True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = run("status", "--admin", f"tcp:127.0.0.1:{port}")
    assert (ended.code, "nobody listens there" in ended.err) == (69, True)


def test_host_is_not_resolved() -> None:
    """A host name that does not exist is said to be the reason."""
    ended = run("status", "--admin", "tcp:nothing.invalid:7711")
    assert ended.code == 69
    assert "nothing.invalid" in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not open the socket")
@pytest.mark.parametrize(("folder_mode", "kept_out_by"), [(0o755, "a.sock"), (0o700, "run")])
def test_permission_denied(folder_mode: int, kept_out_by: str) -> None:
    """Whoever may not open the socket is told what keeps them out, and to which user and group it belongs."""
    # Not `tmp_path`, which is below folders that only we may enter.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        run_folder = Path(folder, "run")
        run_folder.mkdir()
        Path(folder).chmod(0o755)
        server.bind(str(run_folder / "a.sock"))
        server.listen()
        (run_folder / "a.sock").chmod(0o660)
        run_folder.chmod(folder_mode)
        ended = run_as_nobody("status", "--admin", f"unix:{run_folder}/a.sock")
    assert ended.startswith(f"69 forwarder: unix:{run_folder}/a.sock: permission denied\nhint: ")
    assert f"{kept_out_by} belongs to user root and group root: run the command as root, or use sudo" in ended


def run_as_nobody(*args: str) -> str:
    """Run a command in a child that has given up its rights; return its exit code and standard error."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        ended = run(*args)
        os.write(theirs, f"{ended.code} {ended.err}".encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_another_server(tmp_path: Path, answer: bytes) -> None:
    """An address at which something else answers is said to be the wrong one."""
    with answering(tmp_path / "a.sock", answer) as address:
        ended = run("status", "--admin", address)
    assert ended.code == 69
    assert "is not the admin address of a forwarder" in ended.err
    assert "hint: give the address under admin.listen" in ended.err


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}"])
def test_broken_answer(tmp_path: Path, answer: bytes) -> None:
    """A connection that breaks in an answer is not reachable, and never a traceback."""
    with answering(tmp_path / "a.sock", answer) as address:
        ended = run("status", "--admin", address)
    assert ended.code == 69
    assert "the connection broke before the answer was complete" in ended.err


def test_silence(tmp_path: Path) -> None:
    """A daemon that accepts the connection and says nothing is given up in the end."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "a.sock"))
        server.listen()
        client = AdminClient(Address(path=str(tmp_path / "a.sock")), patience=0.1)
        with pytest.raises(NotReachableError, match="does not answer in time") as found:
            client.ask("GET", "/v1/status")
    assert found.value.exit_code == 69


def test_bad_address() -> None:
    """An address that is none is a usage error with the right form."""
    ended = run("status", "--admin", "/run/x.sock")
    assert ended.code == 2
    assert "Write unix:/run/x.sock" in ended.err


def test_the_intake_is_not_the_admin_address(tmp_path: Path) -> None:
    """Whoever gives an address of the intake is told so, and which address is wanted."""
    problem = (
        b'{"type": "urn:forwarder:problem:not-found", "detail": "there is nothing at /v1/status; there is: /v1/events"}'
    )
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(problem), problem)
    with answering(tmp_path / "http.sock", answer) as address:
        ended = run("status", "--admin", address)
    assert ended.code == 69
    assert f"{address} is not the admin address of a forwarder: it is where events come in\n" in ended.err
    assert "hint: give the address under admin.listen" in ended.err
    with answering(tmp_path / "stream.sock", b'{"refused": 1, "status": 400, "detail": "not JSON"}\n') as address:
        ended = run("status", "--admin", address)
    assert ended.code == 69
    assert f"{address} is not the admin address of a forwarder: what answers is not HTTP\n" in ended.err


def test_why_nothing_is_taken(tmp_path: Path) -> None:
    """A command that waits says what is so: the daemon's own words, that it says nothing, or that it is busy."""
    with served_in_thread(tmp_path, "main", token="s3cret") as served:
        assert "busy" in why_it_waits(served.address)
        served.daemon.reason = "the disk of the queue is full"
        assert why_it_waits(served.address) == "the daemon takes no events: the disk of the queue is full"
        address = served.address
    words = "nothing is taken, and the daemon does not say why: "
    assert why_it_waits(address).startswith(f"{words}{address}: ")
    assert "`forwarder status` says why" in why_it_waits(None)
