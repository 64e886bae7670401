"""Where an export goes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from forwarder.cli.output import open_output
from forwarder.errors import InputOutputError
from tests.fixtures import PATIENCE


def test_file_appears_when_complete(tmp_path: Path) -> None:
    """Until everything is written the old file stays; then the new one is there, and nothing else."""
    file = tmp_path / "out"
    file.write_text("old")
    with open_output(file) as output:
        output.write(b"new")
        output.flush()
        assert file.read_text() == "old"
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("out", "new")]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    """What fails in between leaves no file at all."""
    with pytest.raises(TypeError), open_output(tmp_path / "out") as output:
        output.write("half")  # type: ignore[call-overload]
    assert list(tmp_path.iterdir()) == []


def test_symbolic_link(tmp_path: Path) -> None:
    """A symbolic link stays one; the file behind it is replaced."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_output(tmp_path / "link") as output:
        output.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_named_pipe(tmp_path: Path) -> None:
    """A named pipe is written to and not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with open_output(pipe) as output:
        output.write(b"x")
    reader.join(PATIENCE)
    assert read == [b"x"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["missing/out", "file/out", "."])
def test_unwritable(tmp_path: Path, name: str) -> None:
    """A place that cannot be written to is named, with the system's words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputOutputError, match="cannot be written"), open_output(tmp_path / name):
        pass
