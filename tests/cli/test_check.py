"""`forwarder check`: what would keep the daemon from working is found before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from tests.integration.process import Forwarder


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
