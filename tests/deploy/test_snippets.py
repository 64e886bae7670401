"""The samples that hand in events, taken out of forwarder/ingest/README.md and run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forwarder.receiver.server import Receiver
from tests.deploy.sidecar import LOCAL
from tests.documents import sample
from tests.integration.process import PATIENCE, Forwarder

README = "forwarder/ingest/README.md"
FOLDER = "/run/forwarder/"

# By the language of the block: the file it is written to, and what runs that.
PROGRAMS = {
    "python": ("feed.py", (sys.executable,)),
    "js": ("feed.mjs", ("node",)),
    "java": ("Feed.java", ("java",)),
}
languages = pytest.mark.parametrize("language", PROGRAMS)
pytestmark = pytest.mark.system


def block(language: str, folder: Path, heading: str = "Feeding it from your application") -> str:
    """Return the sample in a language below a heading, with the sockets of a folder."""
    found = sample(README, heading, language)
    assert FOLDER in found
    return found.replace(FOLDER, f"{folder}/")


def program(language: str, folder: Path) -> list[str]:
    """Write the program of a language; return the command that runs it."""
    name, words = PROGRAMS[language]
    needs(words[0])
    if language == "java":
        needs("javac")
    (folder / name).write_text(block(language, folder), encoding="utf-8")
    return [*words, str(folder / name)]


def needs(command: str) -> None:
    """Skip the test where a command is missing."""
    if shutil.which(command) is None:
        pytest.skip(f"needs {command}")


def lines(count: int) -> list[bytes]:
    """Return events with ids, one a line."""
    found: list[dict[str, Any]] = [
        {"eventSourceId": "app", "eventType": "login", "eventId": str(uuid.uuid4()), "data": {"n": number, "x": "ä"}}
        for number in range(count)
    ]
    return [json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in found]


def ids(sent: Sequence[bytes]) -> set[str]:
    """Return the ids of events."""
    return {json.loads(line)["eventId"] for line in sent}


async def feed(words: Sequence[str], sent: Sequence[bytes]) -> str:
    """Run a program with lines for its standard input; return what it says on standard error."""
    process = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate(b"".join(sent))
    assert process.returncode == 0, said
    return said.decode()


@languages
async def test_events_arrive_through_a_crash(tmp_path: Path, language: str) -> None:
    """All lines arrive though the daemon is killed and comes back in between; a refused one is reported."""
    words = program(language, tmp_path)
    forwarder = Forwarder(tmp_path, "")
    sent = lines(10_500)
    bad = b'{"eventSourceId": "app"}\n'
    async with Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")], keep="ids") as receiver:
        forwarder.config["destinations"]["main"]["url"] = receiver.url
        async with forwarder:
            process = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            assert process.stdin is not None
            process.stdin.writelines([bad, *sent[:5000]])
            await process.stdin.drain()
            await receiver.wait_stored(1000, PATIENCE)
            await forwarder.kill()
            process.stdin.writelines(sent[5000:])
            process.stdin.write_eof()
            await forwarder.start()
            async with asyncio.timeout(PATIENCE):
                _, said = await process.communicate()
            assert process.returncode == 0, said
            await forwarder.settled()
        assert b"refused" in said
        assert b"eventType" in said
        assert receiver.ids == ids(sent)


@languages
async def test_goes_on_behind_the_last_ack(tmp_path: Path, language: str) -> None:
    """After a connection that breaks in the middle of an answer, the next one begins with the first line not acked."""
    words = program(language, tmp_path)
    sent = lines(1000)
    connections: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append((await reader.read()).splitlines(keepends=True))
        done = len(connections) > 1
        writer.write(b'{"ack": %d}\n' % len(connections[-1]) if done else b'{"ack": 300}\n{"ack": 400}\n{"ack":')
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, tmp_path / "stream.sock", limit=1 << 20):
        await feed(words, sent)
    assert connections == [sent, sent[400:]]


async def test_commands(tmp_path: Path) -> None:
    """Each command of the shell hands in every event of a file or a pipe, and says so."""
    for name in ("curl", "nc"):
        needs(name)
    forwarder = Forwarder(tmp_path, "")
    sent = lines(100)
    (tmp_path / "events.ndjson").write_bytes(b"".join(sent))
    my_program = tmp_path / "my-program"
    my_program.write_text("#!/bin/sh\nexec cat events.ndjson\n", encoding="utf-8")
    my_program.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "FORWARDER_CONFIG": str(forwarder.config_file)}
    commands = block("sh", tmp_path).replace("\\\n", "").splitlines()
    async with Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")], keep="ids") as receiver:
        forwarder.config["destinations"]["main"]["url"] = receiver.url
        async with forwarder:
            printed = []
            for command in commands:
                done = await asyncio.to_thread(
                    subprocess.run,
                    ["sh", "-c", command],
                    cwd=tmp_path,
                    env=environ,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=PATIENCE,
                )
                assert done.returncode == 0, done
                printed.append(done.stdout.strip())
            await receiver.wait_stored(400, PATIENCE)
        assert printed[:3] == ["100 events accepted", "100 events accepted", '{"accepted": 100}']
        # Acks may come in several steps.
        assert printed[3].splitlines()[-1] == '{"ack": 100}'
        assert receiver.ids == ids(sent)


async def test_a_line_that_is_refused(tmp_path: Path) -> None:
    """The sample of the stream shows what comes back: a refusal, then an ack that covers both lines."""
    needs("socat")
    async with Forwarder(tmp_path, "http://127.0.0.1:1/put"):
        command = ["sh", "-c", block("sh", tmp_path, "Stream")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=PATIENCE)
    *others, refused, ack = map(json.loads, done.stdout.splitlines())
    assert others in ([], [{"ack": 1}])
    assert (refused["refused"], refused["status"], ack) == (2, 422, {"ack": 2})
