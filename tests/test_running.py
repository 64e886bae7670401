"""The note by which commands find the running daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.running import Note, Running, find

CONFIG = Path("/etc/forwarder/forwarder.yaml")
RUNNING = Running(7, ["unix:/run/forwarder/admin.sock"], [], ["tcp:127.0.0.1:1"], "/etc/token", None)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    tmp_path.chmod(0o755)
    return {"RUNTIME_DIRECTORY": str(tmp_path)}


@pytest.fixture
def file(environ: dict[str, str], tmp_path: Path) -> Path:
    """Write a note; return its file."""
    Note(CONFIG, environ).write(RUNNING)
    (found,) = (tmp_path / "daemon").iterdir()
    return found


def test_what_was_written_is_found(environ: dict[str, str], file: Path) -> None:
    """A daemon is found by the configuration that it runs with, and by no other; a later word replaces an earlier."""
    assert find(CONFIG, environ) == RUNNING
    assert find(Path("/etc/forwarder/other.yaml"), environ) is None
    later = Running(8, [], [], [])
    note = Note(CONFIG, environ)
    note.write(later)
    assert find(CONFIG, environ) == later
    note.remove()
    assert find(CONFIG, environ) is None
    assert list(file.parent.iterdir()) == []


def test_a_path_is_what_counts(environ: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the same file as the whole one."""
    monkeypatch.chdir("/etc")
    assert find(Path("forwarder/../forwarder/forwarder.yaml"), environ) == RUNNING


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_note_that_others_can_write_is_not_believed(environ: dict[str, str], file: Path, mode: int) -> None:
    """Whoever could write to the file could send commands, and their token, anywhere."""
    file.chmod(mode)
    assert find(CONFIG, environ) is None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_can_write_is_not_believed(environ: dict[str, str], file: Path, mode: int) -> None:
    """Whoever can write to the folder can put another file there."""
    file.parent.chmod(mode)
    assert find(CONFIG, environ) is None
    # Nor is anything written there.
    Note(CONFIG, environ).write(Running(9, [], [], []))
    file.parent.chmod(0o755)
    assert find(CONFIG, environ) == RUNNING


def test_a_shared_runtime_folder(environ: dict[str, str], tmp_path: Path) -> None:
    """Where others may write beside it, as in a volume of a pod, the folder within is still ours alone."""
    tmp_path.chmod(0o777)
    Note(CONFIG, environ).write(RUNNING)
    assert find(CONFIG, environ) == RUNNING


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else(environ: dict[str, str], file: Path, tmp_path: Path) -> None:
    """Root believes the user to whom it has given the runtime folder, and nobody who has only got in there."""
    os.chown(file, 4242, -1)
    assert find(CONFIG, environ) is None
    os.chown(file.parent, 4242, -1)
    assert find(CONFIG, environ) is None
    os.chown(tmp_path, 4242, -1)
    assert find(CONFIG, environ) == RUNNING
    os.seteuid(4243)
    try:
        assert find(CONFIG, environ) is None
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000, b"{" + b" " * 300_000])
def test_what_is_no_note(environ: dict[str, str], file: Path, content: bytes) -> None:
    """A file that says nothing of use counts as none."""
    file.write_bytes(content)
    assert find(CONFIG, environ) is None


def test_a_link_or_a_pipe_is_no_note(environ: dict[str, str], file: Path, tmp_path: Path) -> None:
    """Only a file in its place counts, and nothing is waited for."""
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert find(CONFIG, environ) is None
    file.unlink()
    os.mkfifo(file)
    assert find(CONFIG, environ) is None


def test_no_place_for_a_note(tmp_path: Path) -> None:
    """Without a folder to write to, nothing is written and nothing fails."""
    note = Note(CONFIG, {"RUNTIME_DIRECTORY": str(tmp_path / "missing")})
    note.write(RUNNING)
    note.remove()
    assert find(CONFIG, {"RUNTIME_DIRECTORY": str(tmp_path / "missing")}) is None
