"""Reloading a real process: what is wrong changes nothing and is named; keys change under load without a trace."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from forwarder.model import Address
from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from tests.integration.process import Forwarder, events, merged

LOCAL = Address(host="127.0.0.1", port=0)

Config = dict[str, Any]
Mistake = Callable[[Config, Path], Config | str]


def setting(**settings: Any) -> Mistake:
    """Return the mistake of putting in these settings."""
    return lambda config, _folder: merged(config, settings)


def main(**settings: Any) -> Mistake:
    """Return the mistake of putting these settings into the destination."""
    return setting(destinations={"main": settings})


def text(content: str) -> Mistake:
    """Return the mistake of a file with this content."""
    return lambda _config, _folder: content


def key(content: bytes, mode: int = 0o600) -> Mistake:
    """Return the mistake of a key file with this content and mode."""

    def act(config: Config, folder: Path) -> Config:
        file = folder / "other.pem"
        file.touch()
        file.write_bytes(content)
        file.chmod(mode)
        return merged(config, {"destinations": {"main": {"signing": {"key_file": str(file)}}}})

    return act


def without_url(config: Config, _folder: Path) -> Config:
    del config["destinations"]["main"]["url"]
    return config


def broken_certificates(config: Config, folder: Path) -> Config:
    (folder / "ca.pem").write_text("nothing of the kind")
    return merged(
        config,
        {"destinations": {"main": {"url": "https://localhost/put", "tls": {"ca_file": str(folder / "ca.pem")}}}},
    )


def empty_token(config: Config, folder: Path) -> Config:
    (folder / "token").touch(mode=0o600)
    return merged(config, {"ingest": {"token_file": str(folder / "token")}})


def piped_token(config: Config, folder: Path) -> Config:
    with suppress(FileExistsError):
        os.mkfifo(folder / "pipe", 0o600)
    return merged(config, {"ingest": {"token_file": str(folder / "pipe")}})


def shared_token(config: Config, folder: Path) -> Config:
    (folder / "shared").write_text("secret")
    (folder / "shared").chmod(0o660)
    return merged(config, {"admin": {"token_file": str(folder / "shared")}})


def socket_in_use(config: Config, folder: Path) -> Config:
    return merged(config, {"admin": {"listen": [f"unix:{folder}/taken.sock", f"unix:{folder}/admin.sock"]}})


def folder_missing(config: Config, folder: Path) -> Config:
    return merged(config, {"ingest": {"stream": {"listen": [f"unix:{folder}/missing/stream.sock"]}}})


def same_address_twice(config: Config, folder: Path) -> Config:
    return merged(config, {"ingest": {"stream": {"listen": [f"unix:{folder}/http.sock"]}}})


# Each with what has to be said about it.
MISTAKES: dict[str, tuple[Mistake, str]] = {
    "unknown key": (main(retries={"max": "1s"}), "destinations.main.retries"),
    "unknown key at the top": (setting(destination={}), "destination"),
    "wrong type": (main(batch={"max_events": "many"}), "destinations.main.batch.max_events"),
    "a list for a group": (setting(queue=["/tmp/queue.db"]), "queue"),
    "unknown unit": (setting(shutdown_timeout="20 parsecs"), "shutdown_timeout"),
    "bad url": (main(url="example.com/put"), "destinations.main.url"),
    "url missing": (without_url, "destinations.main.url"),
    "no destination": (lambda config, _: {**config, "destinations": {}}, "destinations"),
    "key missing": (main(signing={"key_file": "/nowhere/key.pem"}), "/nowhere/key.pem: there is no such file"),
    "key that others may read": (key(generate_key(2048), 0o644), "other.pem: its mode is 0644"),
    "key of no kind": (key(b"-----BEGIN nonsense"), "other.pem: the key is damaged"),
    "key that is empty": (key(b""), "other.pem: is empty"),
    "key that is a folder": (main(signing={"key_file": "/etc"}), "/etc: is a folder"),
    "algorithm that does not exist": (main(signing={"alg": "HS256"}), "destinations.main.signing.alg"),
    "ca file missing": (main(url="https://localhost/put", tls={"ca_file": "/nowhere/ca.pem"}), "/nowhere/ca.pem"),
    "ca file without certificates": (broken_certificates, "ca.pem"),
    "half a client certificate": (main(tls={"cert_file": "/etc/c.pem"}), "is set, and tls.key_file is not"),
    "contradictory sizes": (
        setting(ingest={"max_event_bytes": "2MiB", "max_request_bytes": "1MiB"}),
        "2MiB is more than ingest.max_request_bytes (1MiB)",
    ),
    "contradictory waits": (main(retry={"initial": "1h", "max": "1s"}), "1h is more than retry.max (1s)"),
    "empty file": (text(""), "the file is empty"),
    "invalid YAML": (text("destinations: {main: [\n"), "forwarder.yaml"),
    "not a mapping": (text("- destinations\n"), "lines are wanted"),
    "variable that is not set": (main(signing={"key_file": "${NO_SUCH_NAME}/key.pem"}), "NO_SUCH_NAME"),
    "token missing": (setting(ingest={"token_file": "/nowhere/token"}), "/nowhere/token: there is no such file"),
    "token that is empty": (empty_token, "token: is empty"),
    "token that is a pipe": (piped_token, "pipe: is not a regular file"),
    "token that the group may change": (shared_token, "shared: its mode is 0660"),
    "open to the network without a token": (
        setting(ingest={"http": {"listen": ["tcp:0.0.0.0:7710"]}}),
        "no token is required",
    ),
    "address in use": (socket_in_use, "another process listens there"),
    "folder of a socket missing": (folder_missing, "missing/stream.sock"),
    "one address twice": (same_address_twice, "is taken by"),
    "another queue": (setting(queue={"path": "/nowhere/queue.db"}), "queue.path: changes only at a start"),
}


@contextmanager
def taken(path: Path) -> Iterator[None]:
    """Let somebody else listen at a socket."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        yield


async def test_each_mistake_is_named_and_changes_nothing(tmp_path: Path) -> None:
    """One broken reload after another: each is refused by its name, and the same process delivers as before."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    async with Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")]) as receiver:
        forwarder.config["destinations"]["main"]["url"] = receiver.url
        with taken(forwarder.folder / "taken.sock"):
            async with forwarder:
                for number, (name, (mistake, words)) in enumerate(MISTAKES.items()):
                    refused = await reload_with(forwarder, mistake)
                    assert any(words in problem for problem in refused), f"{name}: {words!r} is not in {refused}"
                    assert (await forwarder.status())["reload_refused"]["problems"] == refused
                    assert (await forwarder.post(events(number, 1)))[0] == 202, name
                await forwarder.settled()
                forwarder.write_config()
                hang_up(forwarder)
                await forwarder.until(lambda: forwarder.logged("reload.done"))
                assert (await forwarder.status())["reload_refused"] is None
                assert await forwarder.stop() == 0
    assert receiver.stats.stored == len(MISTAKES)
    assert len(MISTAKES) >= 20
    assert len(forwarder.logged("forwarder.started")) == 1


def hang_up(forwarder: Forwarder) -> None:
    assert forwarder.process is not None
    forwarder.process.send_signal(signal.SIGHUP)


async def reload_with(forwarder: Forwarder, mistake: Mistake) -> list[str]:
    """Reload with a mistake; return what the daemon says about it."""
    found = mistake(deepcopy(forwarder.config), forwarder.folder)
    content = found if isinstance(found, str) else yaml.safe_dump(found)
    forwarder.config_file.write_text(content, encoding="utf-8")
    known = len(forwarder.logged("reload.refused"))
    hang_up(forwarder)
    await forwarder.until(lambda: len(forwarder.logged("reload.refused")) > known)
    assert not forwarder.logged("reload.done")
    return [line["problem"] for line in forwarder.logged("reload.refused")[known:]]


async def test_the_command_waits_for_the_verdict(tmp_path: Path) -> None:
    """`forwarder reload` says what is refused, also what only a start can change, and takes effect before it ends."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    async with forwarder:
        good = forwarder.config
        forwarder.config = merged(good, {"queue": {"max_bytes": "1GiB"}})
        forwarder.write_config()
        refused = await asyncio.to_thread(forwarder.command, "reload")
        assert refused.returncode == 1
        assert refused.stderr.startswith(b"forwarder: the queue: queue.max_bytes: changes only at a start. Restart.\n")
        # The address over which the request comes is closed by it, and the answer still arrives.
        moved = {"admin": {"listen": [f"unix:{forwarder.folder}/moved.sock"]}}
        forwarder.config = merged(good, moved)
        forwarder.write_config()
        done = await asyncio.to_thread(forwarder.command, "reload", "--admin", f"unix:{forwarder.folder}/admin.sock")
        assert (done.returncode, done.stdout) == (0, b"reloaded\n")
        status = await asyncio.to_thread(forwarder.command, "status")
        assert status.returncode == 0
        assert b"RELOAD REFUSED" not in status.stdout
        assert await forwarder.stop() == 0


# --- keys --------------------------------------------------------------------------------------


def rename(folder: Path, number: int, content: bytes) -> None:
    """Put a key into place as an operator does: written beside it, then moved over it."""
    fresh = folder / f"{number}.pem"
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(folder / "key.pem")


def swap(folder: Path, number: int, content: bytes) -> None:
    """Put a key into place as Kubernetes does: a new folder, one symbolic link changed to it, the old folder removed.

    `key.pem` leads to `..data/key.pem`, and `..data` to the folder of the day.
    """
    fresh = folder / f"..{number}"
    fresh.mkdir()
    (fresh / "key.pem").touch(mode=0o440)
    (fresh / "key.pem").write_bytes(content)
    data = folder / "..data"
    old = data.resolve() if data.is_symlink() else None
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").rename(data)
    if old is None:
        (folder / "key.pem").symlink_to("..data/key.pem")
    else:
        (old / "key.pem").unlink()
        old.rmdir()


@pytest.mark.parametrize("replace", [rename, swap])
async def test_keys_are_rotated_under_load(tmp_path: Path, replace: Callable[[Path, int, bytes], None]) -> None:
    """With batches in flight, each new key is in use within seconds; no event is lost, dead or sent twice."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    # The length tells in the header of a batch which key has signed it.
    keys = {"RS256": generate_key(2048), "RS384": generate_key(3072), "RS512": generate_key(4096)}
    replace(secrets, 0, keys["RS256"])
    public = []
    for name, content in keys.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
        public.append(Signer.load(tmp_path / name).public("pem"))
    async with Receiver(LOCAL, public_keys=public, faults="slow:0.05,loop") as receiver:
        main_settings = {"signing": {"key_file": str(secrets / "key.pem")}, "in_flight": 4, "batch": {"max_events": 20}}
        forwarder = Forwarder(tmp_path / "f", receiver.url, destinations={"main": main_settings})
        async with forwarder:
            stopping = asyncio.Event()
            producing = asyncio.create_task(produce(forwarder, stopping))
            for number, alg in enumerate(keys):
                if number:
                    replace(secrets, number, keys[alg])
                await forwarder.until(lambda alg=alg: receiver.requests and receiver.requests[-1].alg == alg)  # type: ignore[misc]
            stopping.set()
            accepted = await producing
            account = await forwarder.settled()
        assert not forwarder.logged("reload.refused")
    assert (account["accepted"], account["delivered"], account["dead"]) == (accepted, accepted, 0)
    assert (receiver.stats.distinct, receiver.stats.duplicates, receiver.stats.refused) == (accepted, 0, 0)
    assert list(dict.fromkeys(record.alg for record in receiver.requests)) == list(keys)


async def produce(forwarder: Forwarder, stopping: asyncio.Event) -> int:
    """Send events without a pause; return how many were accepted."""
    number = 0
    while not stopping.is_set():
        assert (await forwarder.post(events(number, 10)))[0] == 202
        number += 10
    return number


async def test_a_key_that_is_put_back_is_no_mistake_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that became unusable is refused once; back as it was, the line for `systemctl status` is clean again."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        told: list[str] = []

        def status() -> str:
            """Return the last line about the state."""
            with suppress(BlockingIOError):
                while True:
                    told.extend(manager.recv(65536).decode().splitlines())
            return next(line for line in reversed(told) if line.startswith("STATUS="))

        async with Forwarder(tmp_path / "f", "http://127.0.0.1:1/put") as forwarder:
            forwarder.key_file.chmod(0o644)
            await forwarder.until(lambda: "its mode is 0644" in status())
            forwarder.key_file.chmod(0o600)
            await forwarder.until(lambda: "refused" not in status())
        assert len(forwarder.logged("reload.refused")) == 1
