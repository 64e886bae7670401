"""What surrounds the process: standard descriptors that are closed, a log that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.integration.process import PATIENCE, Forwarder, events


@asynccontextmanager
async def full_log(folder: Path) -> AsyncIterator[tuple[Forwarder, BinaryIO]]:
    """Run a daemon whose log goes into a pipe that is full by now; yield it, and the end to read from."""
    # A batch that fails every millisecond, and for each a line of some hundred bytes.
    fast = {"main": {"retry": {"initial": "1ms", "max": "1ms"}}}
    forwarder = Forwarder(folder, "http://127.0.0.1:1/put", destinations=fast, shutdown_timeout="100ms")
    forwarder.write_config()
    command = [sys.executable, "-m", "forwarder", "run", "-c", str(forwarder.config_file)]
    forwarder.process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert forwarder.process.stderr is not None
    log = cast("BinaryIO", forwarder.process.stderr)

    async def tried_often() -> bool:
        return bool((await forwarder.account())["attempts"] > 1000)

    with log:
        try:
            await forwarder.until(forwarder.answers)
            assert (await forwarder.post(events(0, 1)))[0] == 202
            # A pipe takes 64 KiB: a write would stand still long before.
            await forwarder.until(tried_often)
            yield forwarder, log
        finally:
            await forwarder.kill()


def link(path: Path) -> str:
    return str(path.readlink())


async def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """With standard error on a full pipe, events are taken, health is answered, and SIGTERM ends the process."""
    async with full_log(tmp_path / "f") as (forwarder, _log):
        assert (await forwarder.post(events(1, 1)))[0] == 202
        assert await forwarder.admin("GET", "/healthz") == (200, "ok\n")
        assert await forwarder.stop() == 0


async def test_the_last_lines_of_a_log_come_out(tmp_path: Path) -> None:
    """Whoever reads on when the process ends gets the log to its last line."""
    async with full_log(tmp_path / "f") as (forwarder, log):
        ended = asyncio.create_task(forwarder.stop())
        lines = (await asyncio.to_thread(log.read)).splitlines()
        assert await ended == 0
        assert json.loads(lines[-1])["event"] == "forwarder.stopped"


@pytest.mark.parametrize("kind", ["http", "stream", "admin"])
async def test_out_of_open_files(tmp_path: Path, kind: str) -> None:
    """With 64 files and 100 idle clients of any kind, events are delivered, and nobody loses sight of the daemon."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    with contextlib.ExitStack() as idle:
        async with Receiver(
            Address(host="127.0.0.1", port=0), public_keys=[forwarder.signer.public("pem")]
        ) as receiver:
            forwarder.config["destinations"]["main"]["url"] = receiver.url
            forwarder.write_config()
            command = f"ulimit -n 64; exec {sys.executable} -m forwarder run -c {forwarder.config_file}"
            with forwarder.log_file.open("wb") as log:
                forwarder.process = subprocess.Popen(["/bin/sh", "-c", command], stderr=log)
            try:
                await forwarder.until(forwarder.answers)
                first = forwarder.stream()
                idle.callback(first.close)
                for _ in range(100):
                    client = socket.socket(socket.AF_UNIX)
                    idle.callback(client.close)
                    client.connect(str(forwarder.folder / f"{kind}.sock"))
                await forwarder.until(lambda: forwarder.logged("connections.refused"))
                assert forwarder.logged("connections.refused")[0]["kind"] == kind
                # Who was there before goes on, and what it sends is delivered over a new connection.
                first.sendall(b"".join(json.dumps(event).encode() + b"\n" for event in events(0, 3)))
                assert await asyncio.to_thread(first.recv, 100) == b'{"ack": 3}\n'
                await forwarder.until(lambda: receiver.stats.stored == 3)
                if kind != "admin":
                    assert await forwarder.admin("GET", "/readyz") == (200, "ready\n")
                    assert (await forwarder.account())["delivered"] == 3
                idle.close()
                # Where there is room again, clients come in again.
                await forwarder.until(forwarder.answers)
                assert (await forwarder.post(events(3, 1)))[0] == 202
                assert await forwarder.stop() == 0
            finally:
                await forwarder.kill()


async def test_a_typo_in_the_file_of_a_running_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the state of a daemon, or sends to it, finds it also where its file cannot be read any more."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    async with Forwarder(tmp_path / "f", "http://127.0.0.1:1/put") as forwarder:
        forwarder.config_file.write_text("destinatoins: {}\n")
        event = json.dumps(events(0, 1)[0]).encode()
        for words, stdin in ((["status"], None), (["dead", "list"], None), (["send", "-"], event)):
            ended = await asyncio.to_thread(forwarder.command, *words, stdin=stdin)
            assert ended.returncode == 0, ended.stderr
            assert b"Did you mean `destinations`?" in ended.stderr
        ended = await asyncio.to_thread(forwarder.command, "reload")
        assert ended.returncode == 1
        assert (await forwarder.account())["accepted"] == 1
        assert await forwarder.stop() == 0
        # The mistake is all that is left.
        assert (await asyncio.to_thread(forwarder.command, "status")).returncode == 78


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_closed_descriptors(tmp_path: Path, closed: str) -> None:
    """Standard descriptors that are closed are on /dev/null, so that nothing else takes their numbers."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.write_config()
    command = f"exec {sys.executable} -m forwarder run -c {forwarder.config_file} {closed}"
    forwarder.process = subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.DEVNULL)
    try:
        await forwarder.until(forwarder.answers)
        numbers = [number for number, stream in enumerate(["<&-", ">&-", "2>&-"]) if stream in closed.split()]
        descriptors = Path(f"/proc/{forwarder.process.pid}/fd")
        for number in numbers:
            assert link(descriptors / str(number)) == "/dev/null"
        assert await forwarder.stop() == 0
    finally:
        await forwarder.kill()


@pytest.mark.parametrize("words", ["version", "check -c /nowhere", "keys show /nowhere"])
def test_commands_with_closed_descriptors(words: str) -> None:
    """Every command ends as it would, without a traceback, where no standard descriptor is open."""
    expected = subprocess.run([sys.executable, "-m", "forwarder", *words.split()], capture_output=True, check=False)
    command = f"exec {sys.executable} -m forwarder {words} <&- >&- 2>&-"
    closed = subprocess.run(["/bin/sh", "-c", command], check=False, timeout=PATIENCE)
    assert closed.returncode == expected.returncode
