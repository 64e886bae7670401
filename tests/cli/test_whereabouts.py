"""How commands find the daemon where its configuration cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.cli import whereabouts
from forwarder.config import AdminConfig
from forwarder.running import Note, Running
from tests.admin.serving import Served, served_in_thread
from tests.cli.console import run
from tests.cli.settings import config_file, secret_file

MISTAKE = "destinations: 7\n"


@contextmanager
def noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, token: str | None = None
) -> Iterator[tuple[Served, Path]]:
    """Serve as a daemon that has noted where it is; its configuration has a mistake by now."""
    (tmp_path / "run").mkdir()
    # Commands in the tests run without the variables of the forwarder, and with those of the system.
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    file = config_file(tmp_path, "{listen: []}")
    file.write_text(MISTAKE)
    with served_in_thread(tmp_path, "main", token=token) as served:
        token_file = None if token is None else str(secret_file(tmp_path, token))
        Note(file, os.environ).write(Running(1, [str(served.address)], [], [], token_file))
        yield served, file


@pytest.mark.parametrize("words", [["status"], ["queue", "flush"], ["dead", "list"], ["reload"]])
def test_a_mistake_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """The running daemon is asked all the same, with its token, and the mistake is told beside the answer."""
    with noted(tmp_path, monkeypatch, token="s3cret") as (_served, file):
        ended = run(*words, "-c", str(file))
    assert ended.code == 0
    assert ended.err.startswith(f"forwarder: {file}:1: destinations: ")
    assert "forwarder: the daemon goes on with the configuration that it has read before\n" in ended.err


def test_json_stays_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program reads is not mixed with the mistake."""
    with noted(tmp_path, monkeypatch) as (_served, file):
        assert json.loads(run("status", "--json", "-c", str(file)).out)["ready"] is True


def test_a_daemon_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers at what was noted, the mistake is the error."""
    with noted(tmp_path, monkeypatch) as (_served, file):
        pass
    ended = run("status", "-c", str(file))
    assert (ended.code, ended.out) == (78, "")
    # It may run all the same, where it can leave no note.
    assert "say where: --admin ADDRESS" in ended.err
    file.unlink()
    file = config_file(tmp_path, f"{{listen: ['unix:{tmp_path}/other.sock']}}")
    ended = run("status", "-c", str(file))
    assert ended.code == 69
    assert f"unix:{tmp_path}/other.sock: there is no such socket" in ended.err


def test_a_daemon_that_still_listens_where_the_file_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a reload, a running daemon is where it says, and not where its configuration says by now."""
    with noted(tmp_path, monkeypatch) as (served, file):
        config_file(tmp_path, f"{{listen: ['unix:{tmp_path}/other.sock']}}")
        ended = run("reload", "-c", str(file))
        assert (ended.code, ended.err) == (0, "")
        assert served.reloads.asked == 1


def test_the_usual_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a note, a daemon at the default address is found."""
    file = tmp_path / "broken.yaml"
    file.write_text(MISTAKE)
    with served_in_thread(tmp_path, "main") as served:
        usual = AdminConfig(listen=(served.address,))
        monkeypatch.setattr(whereabouts, "AdminConfig", lambda: usual)
        ended = run("status", "-c", str(file))
    assert ended.code == 0
    assert ":1: destinations: " in ended.err
