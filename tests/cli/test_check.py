"""`forwarder check`: what would keep the daemon from working is found before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import ssl
import tempfile
import threading
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.console import run
from tests.integration.process import Forwarder

pytestmark = pytest.mark.slow


def lines(forwarder: Forwarder, *words: str) -> tuple[int, list[str]]:
    """Run the command; return its exit code and its lines."""
    forwarder.write_config()
    done = forwarder.command("check", *words)
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode().splitlines()


def failed(found: list[str]) -> list[str]:
    return [line for line in found if line.startswith("FAIL")]


def test_good(tmp_path: Path) -> None:
    """With everything in order each check says ok and the exit code is 0."""
    code, found = lines(Forwarder(tmp_path / "f", "http://127.0.0.1:1/put"))
    assert code == 0
    assert not failed(found)
    for subject in ("configuration", "key", "queue", "http address", "stream address", "admin address"):
        assert any(line.startswith("ok") and subject in line for line in found), subject


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """A private key that others may read fails, with the chmod that mends it."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.key_file.chmod(0o644)
    code, found = lines(forwarder)
    assert code == 1
    [line] = failed(found)
    assert f"chmod 600 {forwarder.key_file}" in line


def test_folders_that_are_missing(tmp_path: Path) -> None:
    """A socket's folder that is missing fails, with the mkdir that mends it; the others are checked all the same."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.config["ingest"]["http"]["listen"] = [f"unix:{tmp_path}/nowhere/http.sock"]
    code, found = lines(forwarder)
    assert code == 1
    assert f"mkdir -p {tmp_path}/nowhere" in failed(found)[0]
    assert any(line.startswith("ok") and "stream address" in line for line in found)


def test_a_queue_that_is_none(tmp_path: Path) -> None:
    """A folder in its place fails; a file that is no queue is said to go; what is missing is said to be made."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.config["queue"]["path"] = str(tmp_path)
    code, found = lines(forwarder)
    assert (code, f"{tmp_path} is a folder. Let queue.path name a file: {tmp_path}/queue.db" in failed(found)[0]) == (
        1,
        True,
    )
    (tmp_path / "letter").write_text("this is no queue")
    forwarder.config["queue"]["path"] = str(tmp_path / "letter")
    code, found = lines(forwarder)
    assert code == 0
    [note] = [line for line in found if line.startswith("note") and "letter" in line]
    assert "does not begin as a queue; it will be renamed to letter.damaged-…" in note
    forwarder.config["queue"]["path"] = str(tmp_path / "new" / "queue.db")
    assert f"ok    queue: {tmp_path}/new/queue.db, to be made with its folder" in lines(forwarder)[1]


def test_a_queue_in_the_place_of_a_key(tmp_path: Path) -> None:
    """A key that is given as the queue's file stays what it is."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    key = Path(forwarder.config["destinations"]["main"]["signing"]["key_file"])
    before = key.read_bytes()
    forwarder.config["queue"]["path"] = str(key)
    forwarder.write_config()
    done = forwarder.command("run")
    assert done.returncode == 78
    assert b"is the file of destinations.main.signing.key_file, too" in done.stderr
    assert key.read_bytes() == before


def test_a_token_that_others_may_read(tmp_path: Path) -> None:
    """Tokens are read and checked as well."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    token.chmod(0o644)
    forwarder.config["ingest"]["token_file"] = str(token)
    code, found = lines(forwarder)
    assert code == 1
    assert "chmod" in failed(found)[0]
    token.chmod(0o600)
    assert lines(forwarder)[0] == 0


def test_unreadable_configuration(tmp_path: Path) -> None:
    """A configuration that cannot be used ends with 78 and the place of the mistake."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.config["queue"]["max_bytes"] = "lots"
    forwarder.write_config()
    done = forwarder.command("check")
    assert done.returncode == 78
    assert b"queue.max_bytes" in done.stderr


def test_tls_files(tmp_path: Path) -> None:
    """TLS files are read when the URL is https."""
    forwarder = Forwarder(tmp_path / "f", "https://127.0.0.1:1/put")
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate", encoding="utf-8")
    forwarder.config["destinations"]["main"]["tls"] = {"ca_file": str(nonsense)}
    code, found = lines(forwarder)
    assert code == 1
    assert "ca_file" in failed(found)[0]


def test_remote(tmp_path: Path) -> None:
    """With --remote each destination is connected to, and nothing is sent to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        forwarder = Forwarder(tmp_path / "f", f"http://127.0.0.1:{server.getsockname()[1]}/put")
        code, found = lines(forwarder, "--remote")
        assert code == 0
        assert any("connects" in line for line in found)
        server.settimeout(10)
        peer, _ = server.accept()
        with peer:
            peer.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(100) == b""
    code, found = lines(forwarder, "--remote")
    assert code == 1
    assert "connection" in failed(found)[0]


def test_remote_name_that_does_not_resolve(tmp_path: Path) -> None:
    """A host that cannot be resolved fails in words."""
    code, found = lines(Forwarder(tmp_path / "f", "https://no-such-host.invalid/put"), "--remote")
    assert code == 1
    assert "cannot be resolved" in failed(found)[0]


async def test_while_the_daemon_runs(tmp_path: Path) -> None:
    """It can be run beside the daemon, and says that the queue is held."""
    async with Forwarder(tmp_path / "f", "http://127.0.0.1:1/put") as forwarder:
        code, found = await asyncio.to_thread(lines, forwarder)
        assert code == 0
        assert forwarder.process is not None
        assert any(f"held by process {forwarder.process.pid}" in line for line in found)


def test_for_whom_it_speaks(tmp_path: Path) -> None:
    """The first line names the user whose view it is."""
    _code, found = lines(Forwarder(tmp_path / "f", "http://127.0.0.1:1/put"))
    assert f"uid {os.geteuid()}" in found[0]
    assert ("--as USER" in found[0]) == (os.geteuid() == 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can check as somebody else")
def test_as_the_user_of_the_service() -> None:
    """With --as it finds what that user would find: each thing that may not be read is a line, and the rest goes on."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        forwarder = Forwarder(Path(folder, "f"), "http://127.0.0.1:1/put")
        forwarder.write_config()
        assert lines(forwarder)[0] == 0
        code, found = lines(forwarder, "--as", "65534")
        assert code == 1
        assert "uid 65534" in found[0]
        bad = failed(found)
        assert "user 65534 may not read it" in bad[0]
        assert f"queue: {folder}/f/queue/queue.db: user 65534 may not write to {folder}/f" in bad[1]
        assert "http address" in bad[2]
        assert not any("chown" in line or "usermod" in line for line in found)
        # A folder on the way that may not be entered is a line of the result as well.
        Path(folder, "closed").mkdir(mode=0o700)
        forwarder.config["queue"]["path"] = f"{folder}/closed/queue/queue.db"
        forwarder.config["ingest"]["stream"]["listen"] = [f"unix:{folder}/closed/run/stream.sock"]
        code, found = lines(forwarder, "--as", "65534")
        bad = failed(found)
        assert f"queue: {folder}/closed/queue/queue.db: user 65534 may not enter {folder}/closed" in bad[1]
        assert any("stream address" in line and f"may not enter {folder}/closed" in line for line in bad)
    done = forwarder.command("check", "--as", "nobody-of-that-name")
    assert done.returncode == 2


def test_only_root_can_ask_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root is told so."""

    def refuse(*_args: object) -> None:
        raise PermissionError

    for name in ("initgroups", "setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, refuse)
    for user in ("4242", pwd.getpwuid(1).pw_name):
        ended = run("check", "--as", user)
        assert ended.code == 2
        assert f"--as {user}: only root can check as somebody else" in ended.err


def test_addresses_that_are_taken(tmp_path: Path) -> None:
    """An address at which somebody else listens fails, TCP and unix; a socket that was left behind does not."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "taken.sock"))
        unix.listen()
        port = tcp.getsockname()[1]
        forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
        forwarder.config["ingest"]["http"]["listen"] = [f"tcp:127.0.0.1:{port}"]
        forwarder.config["ingest"]["stream"]["listen"] = [f"unix:{tmp_path}/taken.sock"]
        code, found = lines(forwarder)
        assert code == 1
        http, stream = failed(found)
        assert f"http address: cannot listen at tcp:127.0.0.1:{port}: another process listens there" in http
        assert f"stream address: cannot listen at unix:{tmp_path}/taken.sock: another process listens there" in stream
    code, found = lines(forwarder)
    assert code == 0
    assert f"ok    stream address: unix:{tmp_path}/taken.sock, left behind by a process that is gone" in found
    # It leaves everything as it was.
    assert (tmp_path / "taken.sock").is_socket()
    assert not (tmp_path / "f" / "admin.sock").exists()


async def test_the_addresses_of_the_running_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the running daemon of the same configuration listens at is told as that, by its note or by the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    http = {"http": {"listen": [f"tcp:127.0.0.1:{port}", f"unix:{tmp_path}/f/http.sock"]}}
    for runtime in (tmp_path / "missing", tmp_path):
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
        async with Forwarder(tmp_path / "f", "http://127.0.0.1:1/put", ingest=http) as forwarder:
            assert forwarder.process is not None
            code, found = await asyncio.to_thread(lines, forwarder)
            assert code == 0, found
            for address in (f"tcp:127.0.0.1:{port}", f"unix:{tmp_path}/f/admin.sock"):
                words = f"{address}, of the running daemon (process {forwarder.process.pid})"
                assert any(line.startswith("ok") and words in line for line in found)
            await forwarder.stop()


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A path that is too long for the queue fails the check as it fails a start."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.config["queue"]["path"] = "/" + "d" * 250 + "/" + "d" * 250 + "/queue.db"
    forwarder.write_config()
    for command in ("check", "run"):
        done = forwarder.command(command)
        assert done.returncode == 78
        assert b"queue.path: the path has" in done.stderr


def test_remote_client_certificate(tmp_path: Path) -> None:
    """A server that wants a client certificate refuses after the handshake, as TLS 1.3 does; that is found."""
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    serve_one(server.accept()[0])

        def serve_one(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls:
                tls.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        forwarder = Forwarder(tmp_path / "f", f"https://localhost:{server.getsockname()[1]}/put")
        main = forwarder.config["destinations"]["main"]
        main["tls"] = {"ca_file": str(authority.file)}
        code, found = lines(forwarder, "--remote")
        assert code == 1
        assert "refused TLS: certificate required (look at tls.cert_file)" in failed(found)[0]
        ours = authority.issue("forwarder.example")
        main["tls"] |= {"cert_file": str(ours[0]), "key_file": str(ours[1])}
        code, found = lines(forwarder, "--remote")
        assert code == 0
        assert any("connects (TLSv1.3)" in line for line in found)
        # Ends the thread, which waits for the next one.
        server.shutdown(socket.SHUT_RDWR)
