"""`forwarder run`: what is read before the daemon starts, and with what it is started."""

from __future__ import annotations

import atexit
from pathlib import Path

import pytest

from forwarder import log, lossy
from forwarder.daemon import Assembly, ConfigFile
from forwarder.signing import generate_key
from tests.cli.console import run
from tests.cli.settings import config_file

Started = list[tuple[Assembly, ConfigFile]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What the daemon was started with, in place of the daemon; standard error and the log stay as they are."""
    found: Started = []
    monkeypatch.setattr("forwarder.daemon.run", lambda assembly, file: found.append((assembly, file)))
    monkeypatch.setattr(lossy, "make_stderr_lossy", lambda: None)
    monkeypatch.setattr(atexit, "register", lambda _function: None)
    monkeypatch.setattr(log, "configure", lambda _level, _format: None)
    return found


def test_the_daemon_is_started_with_what_the_file_says(tmp_path: Path, started: Started) -> None:
    """The daemon gets what its configuration names, and the file, to read it again."""
    key = tmp_path / "k.pem"
    key.touch(mode=0o600)
    key.write_bytes(generate_key(2048))
    file = config_file(tmp_path, "{listen: []}")
    file.write_text(file.read_text().replace("/k.pem", str(key)))
    ended = run("run", "-c", str(file))
    assert ended.code == 0, ended.err
    [(assembly, known)] = started
    assert list(assembly.destinations) == ["main"]
    assert known.path == file
    assert known.load() == assembly.config


def test_a_mistake_keeps_it_from_starting(tmp_path: Path, started: Started) -> None:
    """A key that is missing ends the command with the exit code for a configuration, and nothing is started."""
    ended = run("run", "-c", str(config_file(tmp_path, "{listen: []}")))
    assert ended.code == 78
    assert "/k.pem: there is no such file" in ended.err
    assert started == []
