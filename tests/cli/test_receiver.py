"""`forwarder receiver`: what it needs, what it prints, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from forwarder.cli.root import cli
from forwarder.signing import Signer, generate_key
from tests.fixtures import PATIENCE

EVENTS = b'[{"eventSourceId":"app","eventType":"Tested","eventId":"1"},\n{"eventSourceId":"app","eventType":"Tested"}]'


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one key for the whole run."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    file.write_bytes(generate_key(2048))
    file.chmod(0o600)
    return file


def put(url: str, jws: bytes) -> int:
    """Send a JWS; return the status."""
    request = urllib.request.Request(url, jws, {"Content-Type": "application/jose"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class Running:
    """A receiver in a process of its own, at a free port."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.notes = ""
        assert process.stderr is not None
        for line in process.stderr:
            self.notes += line
            if line.startswith("Listens at"):
                break
        found = re.search(r"takes events at (\S+)", self.notes)
        assert found, self.notes
        self.url = found[1]

    def put(self, jws: bytes) -> int:
        return put(self.url, jws)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE)


@contextlib.contextmanager
def receiver(*arguments: str | Path) -> Iterator[Running]:
    command = [sys.executable, "-m", "forwarder", "receiver", "--listen", "tcp:127.0.0.1:0", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_it_prints_a_line_for_each_request_and_a_summary(key_file: Path, number: signal.Signals) -> None:
    """Time, status, events, size, duplicates, algorithm, feeds; a signal ends it with exit code 0."""
    jws = Signer.load(key_file).sign(EVENTS)
    with receiver("--public-key", key_file, "--faults", "ok*2,503") as running:
        assert [running.put(body) for body in (jws, jws, jws, b"no jws")] == [200, 200, 503, 400]
        output, rest = running.end(number)
        assert running.process.returncode == 0
    first, second, third, fourth = output.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  200  2 events  \d+ B  RS256  app", first)
    assert "  200  2 events" in second
    assert "  1 duplicate  RS256" in second
    assert third.endswith("[503]")
    assert "  400  0 events  6 B  the body is not a compact JWS" in fourth
    assert rest == "4 requests, 4 events stored, 1 distinct id, 1 duplicate, 1 request refused, 1 met a fault\n"
    assert f"Note: {key_file} is a private key; only its public half is used." in running.notes
    assert Signer.load(key_file).thumbprint in running.notes


@pytest.mark.slow
def test_events_are_printed_and_stored_one_a_line(key_file: Path, tmp_path: Path) -> None:
    """Standard output has the events alone, to be piped on; the lines of requests go beside it."""
    store = tmp_path / "events.ndjson"
    with receiver("--public-key", key_file, "--print-events", "--store", store, "--keep", "counts") as running:
        assert running.put(Signer.load(key_file).sign(EVENTS)) == 200
        output, rest = running.end()
    assert [json.loads(line).get("eventId") for line in output.splitlines()] == ["1", None]
    assert store.read_text() == output
    assert "200  2 events" in rest
    assert rest.endswith("1 request, 2 events stored, 0 requests refused, 0 met a fault\n")


@pytest.mark.slow
def test_quiet_prints_the_summary_only(key_file: Path, tmp_path: Path) -> None:
    """The public key may also come from a file of its own; limits are those of the options."""
    public = tmp_path / "public.jwks"
    public.write_text(Signer.load(key_file).public("jwks"))
    with receiver("--public-key", public, "--quiet", "--max-events", "1", "--max-bytes", "2kB") as running:
        assert "Note" not in running.notes
        assert running.put(Signer.load(key_file).sign(EVENTS)) == 413
        assert running.put(b"x" * 2001) == 413
        output, rest = running.end()
    assert output == ""
    assert rest.startswith("2 requests, 0 events stored")


@pytest.mark.slow
def test_it_ends_when_nobody_reads_its_output(key_file: Path) -> None:
    """A closed pipe is no fault of the request that met it."""
    with receiver("--public-key", key_file) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        assert running.put(Signer.load(key_file).sign(EVENTS)) == 200
        assert running.process.wait(timeout=PATIENCE) == 141


def test_it_can_be_ended_from_its_own_process(key_file: Path, tmp_path: Path) -> None:
    """Events on standard output, lines and summary beside them; what is not signed by the key is refused."""
    public = tmp_path / "public.pem"
    public.write_text(Signer.load(key_file).public("pem"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answers: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        for body in (Signer.load(key_file).sign(EVENTS),) * 3:
            answers.append(put(f"http://127.0.0.1:{port}/put", body))
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = ["receiver", "--listen", f"tcp:127.0.0.1:{port}", "--public-key", str(public), "--print-events"]
    result = CliRunner().invoke(cli, [*command, "--faults", "ok*2,503"])
    ended.set()
    watcher.join()
    assert (result.exit_code, answers) == (0, [200, 200, 503])
    assert len(result.stdout.splitlines()) == 4
    assert "3 requests, 4 events stored, 1 distinct id, 1 duplicate, 0 requests refused" in result.stderr


@pytest.mark.slow
def test_an_address_in_use_is_told(key_file: Path) -> None:
    """Exit code 69, and the command that finds who listens there."""
    with receiver("--public-key", key_file) as running:
        address = running.url.removeprefix("http://").removesuffix("/put")
        result = CliRunner().invoke(cli, ["receiver", "--listen", f"tcp:{address}", "--public-key", str(key_file)])
    assert result.exit_code == 69
    assert f"tcp:{address}: another process listens there" in result.stderr
    assert "ss -ltnp" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "forwarder keys generate key.pem"),
        (["--public-key", "KEY", "--faults", "503,5o4"], "'5o4' is not known\nsteps, one a request"),
        (["--public-key", "KEY", "--listen", "127.0.0.1:7780"], "Write tcp:127.0.0.1:7780."),
        (["--public-key", "KEY", "--max-bytes", "many"], "`many` is not a size"),
        (["--public-key", "KEY", "--max-events", "0"], "--max-events"),
        (["--public-key", "KEY", "--keep", "all"], "--keep"),
    ],
)
def test_a_mistake_in_the_options_is_a_usage_error(key_file: Path, arguments: list[str], problem: str) -> None:
    """Exit code 2, with what would be right."""
    result = CliRunner().invoke(cli, ["receiver", *(str(key_file) if word == "KEY" else word for word in arguments)])
    assert result.exit_code == 2
    assert problem in result.stderr


def test_a_key_that_cannot_be_used_is_told(key_file: Path, tmp_path: Path) -> None:
    """A missing file, one without a key, and a private key that is not kept as one."""
    file = tmp_path / "key.pem"
    for content, problem in ((None, "no such file"), (b"x", "holds no public key"), (key_file.read_bytes(), "0644")):
        if content is not None:
            file.write_bytes(content)
            file.chmod(0o644)
        result = CliRunner().invoke(cli, ["receiver", "--public-key", str(file)])
        assert result.exit_code == 78
        assert problem in result.stderr
    assert f"forwarder keys show {file} > public.pem" in result.stderr


def test_the_help_lists_the_faults() -> None:
    """Nobody has to look them up elsewhere."""
    result = CliRunner().invoke(cli, ["receiver", "--help"])
    assert result.exit_code == 0
    for entry in ("cut-after-store", "random:RATE:SEED", "max-events:N", "reject:TEXT", "loop", "tcp:127.0.0.1:7780"):
        assert entry in result.output
