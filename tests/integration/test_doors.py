"""Who may send, look and act, tried as different users, at sockets of our own and at those that systemd hands over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.process import PATIENCE, Forwarder, events

NOWHERE = "http://127.0.0.1:1/put"
# Users and a group that no machine has by these numbers.
USER, OTHER, GROUP = 54321, 54322, 54323
LOOK = ("GET", "/v1/status")
PEEK = ("GET", "/v1/destinations/main/queue")
PURGE = ("DELETE", "/v1/destinations/main/queue")

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")

# Becomes a user, connects, asks, and prints the status or the error. The folder is entered before, as those
# above it are root's.
_CLIENT = """\
import os, socket, sys
folder, name, uid, groups, request = sys.argv[1:]
os.chdir(folder)
os.setgroups([int(group) for group in groups.split()]); os.setgid(int(uid)); os.setuid(int(uid))
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect("\\0" + name[1:] if name.startswith("@") else name)
    peer.sendall(request.encode())
    print(os.getpid(), peer.makefile().readline().split()[1])
except OSError as error:
    print(os.getpid(), type(error).__name__)
"""


async def ask(
    forwarder: Forwarder, sock: str, method: str, path: str, *, uid: int, groups: tuple[int, ...] = (), body: Any = None
) -> tuple[int, str]:
    """Ask at a unix socket of a forwarder as a user; return the process that did, and the status or the error."""
    content = "" if body is None else json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    words = [str(forwarder.folder), sock, str(uid), " ".join(map(str, groups))]
    words.append(f"{head}Content-Length: {len(content)}\r\n\r\n{content}")
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _CLIENT, *words], capture_output=True, text=True, check=True
    )
    pid, answer = done.stdout.split()
    return int(pid), answer


async def answer(forwarder: Forwarder, sock: str, place: tuple[str, str], **who: Any) -> str:
    return (await ask(forwarder, sock, *place, **who))[1]


@needs_root
async def test_who_may_send_and_who_may_act(tmp_path: Path) -> None:
    """A user outside the group cannot send, one who can send can neither look nor act, and each act is told."""
    async with Forwarder(tmp_path / "f", NOWHERE, ingest={"socket_group": GROUP}) as forwarder:
        sent = {"body": events(0, 1)}
        member: dict[str, Any] = {"uid": USER, "groups": (GROUP,)}
        send = ("POST", "/v1/events")
        assert await answer(forwarder, "http.sock", send, uid=OTHER, **sent) == "PermissionError"
        assert await answer(forwarder, "stream.sock", send, uid=OTHER) == "PermissionError"
        assert await answer(forwarder, "http.sock", send, **member, **sent) == "202"
        for place in (LOOK, PURGE):
            assert await answer(forwarder, "admin.sock", place, **member) == "PermissionError"
        assert (await forwarder.account())["queued"] == 1
        pid, status = await ask(forwarder, "admin.sock", *PURGE, uid=0)
        assert status == "200"
        await forwarder.until(lambda: forwarder.logged("admin.act"))
        (line,) = forwarder.logged("admin.act")
        found = {name: line[name] for name in ("act", "destination", "dropped", "uid", "pid")}
        assert found == {"act": "purge", "destination": "main", "dropped": 1, "uid": 0, "pid": pid}


@needs_root
async def test_operators(tmp_path: Path) -> None:
    """A group of operators looks and acts, and cannot send; a reload takes the right away again."""
    admin = {"socket_mode": "0660", "socket_group": str(GROUP), "listen": [f"unix:{tmp_path}/f/admin.sock"]}
    async with Forwarder(tmp_path / "f", NOWHERE, admin=admin) as forwarder:
        member: dict[str, Any] = {"uid": USER, "groups": (GROUP,)}
        assert await answer(forwarder, "admin.sock", PURGE, **member) == "200"
        assert await answer(forwarder, "http.sock", ("POST", "/v1/events"), **member) == "PermissionError"
        del forwarder.config["admin"]["socket_mode"]
        await reload(forwarder)
        assert await answer(forwarder, "admin.sock", PURGE, **member) == "PermissionError"


@needs_root
async def test_user_ids(tmp_path: Path) -> None:
    """`admin.allow_uids` keeps out whom the file's mode lets in, and has nothing to do with who may send."""
    settings = {"ingest": {"socket_mode": "0666", "allow_uids": [USER]}, "admin": {"socket_mode": "0666"}}
    async with Forwarder(tmp_path / "f", NOWHERE, **settings) as forwarder:
        forwarder.config["admin"]["allow_uids"] = [OTHER]
        await reload(forwarder)
        assert [await answer(forwarder, "admin.sock", LOOK, uid=uid) for uid in (USER, OTHER)] == ["403", "200"]
        sent = [await answer(forwarder, "http.sock", ("GET", "/openapi.json"), uid=uid) for uid in (USER, OTHER)]
        assert sent == ["200", "403"]


async def test_a_group_that_cannot_be_given_changes_nothing(tmp_path: Path) -> None:
    """A reload with a group that does not exist is refused, and mode and group stay as they are."""
    async with Forwarder(tmp_path / "f", NOWHERE) as forwarder:
        before = (forwarder.folder / "http.sock").stat()
        forwarder.config["ingest"] |= {"socket_group": "nobodys-group", "socket_mode": "0666"}
        await reload(forwarder, "reload.refused")
        after = (forwarder.folder / "http.sock").stat()
        assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)
        assert "there is no group nobodys-group" in forwarder.logged("reload.refused")[0]["problem"]


# --- what systemd hands over -------------------------------------------------------------------


@contextmanager
def network() -> Iterator[socket.socket]:
    with socket.create_server(("0.0.0.0", 0)) as made:
        yield made


@pytest.mark.parametrize("kind", ["http", "stream", "admin"])
async def test_a_socket_of_the_network_needs_a_token(tmp_path: Path, kind: str) -> None:
    """A handed-over socket that other machines reach is not served without a token: the daemon does not start."""
    forwarder = Forwarder(tmp_path / "f", NOWHERE)
    with network() as made:
        forwarder.passed[kind] = made
        process = forwarder.spawn()
        assert await asyncio.to_thread(process.wait, PATIENCE) == 78
    section = "admin" if kind == "admin" else "ingest"
    assert "can be reached from other machines, and no token is required" in forwarder.log_text()
    assert f"set {section}.token_file" in forwarder.log_text()


async def test_a_token_that_goes(tmp_path: Path) -> None:
    """A reload that takes the token from a socket of the network is refused, and the old token goes on."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("s3cret", encoding="utf-8")
    forwarder = Forwarder(tmp_path / "f", NOWHERE, admin={"token_file": str(token)})
    with network() as made:
        forwarder.passed["admin"] = made
        async with forwarder:
            host = f"http://127.0.0.1:{made.getsockname()[1]}"
            right = {"Authorization": "Bearer s3cret"}
            assert await over_tcp(host, *PURGE) == 401
            assert await over_tcp(host, *PURGE, headers=right) == 200
            await forwarder.until(lambda: forwarder.logged("admin.act"))
            assert forwarder.logged("admin.act")[0]["peer"].startswith("127.0.0.1:")
            text = forwarder.config_file.read_text(encoding="utf-8")
            forwarder.config_file.write_text(text.replace(f"token_file: {token}", "token_file: null"), encoding="utf-8")
            await reload(forwarder, "reload.refused", write=False)
            assert "no token is required" in forwarder.logged("reload.refused")[0]["problem"]
            assert await over_tcp(host, *PURGE) == 401
            assert await over_tcp(host, *LOOK, headers=right) == 200


@needs_root
@pytest.mark.parametrize("made", ["tcp", "abstract", "open file", "file"])
async def test_what_everybody_reaches_only_looks(tmp_path: Path, made: str) -> None:
    """At a handed-over admin socket that everybody on the machine reaches, nobody acts or sees events."""
    forwarder = Forwarder(tmp_path / "f", NOWHERE)
    name = {"abstract": f"@{os.urandom(8).hex()}", "tcp": ""}.get(made, "passed.sock")
    with socket.socket(socket.AF_INET if made == "tcp" else socket.AF_UNIX) as passed:
        if made == "tcp":
            passed.bind(("127.0.0.1", 0))
        elif made == "abstract":
            passed.bind(b"\0" + name[1:].encode())
        else:
            passed.bind(str(forwarder.folder / name))
            (forwarder.folder / name).chmod(0o666 if made == "open file" else 0o600)
        passed.listen()
        forwarder.passed["admin"] = passed
        async with forwarder:
            found = []
            for place in (LOOK, PEEK, PURGE):
                if made == "tcp":
                    found.append(str(await over_tcp(f"http://127.0.0.1:{passed.getsockname()[1]}", *place)))
                else:
                    found.append(await answer(forwarder, name, place, uid=0 if made == "file" else USER))
            assert found == (["200"] * 3 if made == "file" else ["200", "403", "403"])
            # It is written after the warning.
            await forwarder.until(lambda: forwarder.logged("forwarder.started"))
            warned = [line["detail"] for line in forwarder.logged("config.warning") if "systemd" in line["detail"]]
            assert len(warned) == (made != "file")


# --- over TCP ----------------------------------------------------------------------------------


async def test_tcp_is_told(tmp_path: Path) -> None:
    """`check` and the log say who can send at a TCP address without a token."""
    port = free_port()
    listen = [f"unix:{tmp_path}/f/http.sock", f"tcp:127.0.0.1:{port}"]
    async with Forwarder(tmp_path / "f", NOWHERE, ingest={"http": {"listen": listen}}) as forwarder:
        await forwarder.until(lambda: forwarder.logged("forwarder.started"))
        words = f"ingest.http.listen[1], tcp:127.0.0.1:{port}: every user of this machine"
        assert [line["detail"][: len(words)] for line in forwarder.logged("config.warning")] == [words]
        assert f"note  {words}" in forwarder.command("check").stdout.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


async def over_tcp(host: str, method: str, path: str, **more: Any) -> int:
    async with aiohttp.ClientSession() as session, session.request(method, f"{host}{path}", **more) as found:
        return found.status


async def reload(forwarder: Forwarder, outcome: str = "reload.done", *, write: bool = True) -> None:
    """Reload, and wait for the outcome."""
    if write:
        forwarder.write_config()
    known = len(forwarder.logged(outcome))
    assert forwarder.process is not None
    forwarder.process.send_signal(signal.SIGHUP)
    await forwarder.until(lambda: len(forwarder.logged(outcome)) > known)


@pytest.mark.parametrize("blanks", [b"", b"\r\n \n"])
@pytest.mark.parametrize("pieces", [1, 4])
async def test_a_browser_at_the_stream(tmp_path: Path, blanks: bytes, pieces: int) -> None:
    """What a page can make a browser post to a stream's port is no event, though its body is lines of JSON."""
    port = free_port()
    listen = [f"unix:{tmp_path}/f/stream.sock", f"tcp:127.0.0.1:{port}"]
    event = json.dumps(events(0, 1)[0]).encode() + b"\n"
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n"
    async with Forwarder(tmp_path / "f", NOWHERE, ingest={"stream": {"listen": listen}}) as forwarder:
        for posted, accepted in ((blanks + head + event * 3, 0), (blanks + event, 1)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            size = -(-len(posted) // pieces)
            for start in range(0, len(posted), size):
                writer.write(posted[start : start + size])
                await asyncio.sleep(0.01)
            writer.write_eof()
            said = await reader.read()
            writer.close()
            assert ("HTTP is not spoken here" in said.decode()) == (not accepted)
            assert (await forwarder.account())["accepted"] == accepted
