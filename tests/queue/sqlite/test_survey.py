"""What is told of a queue without opening it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.errors import StorageError
from forwarder.queue.sqlite.survey import Survey
from tests.queue.sqlite.files import opened


async def test_a_queue_in_use(tmp_path: Path) -> None:
    """The process that has it open is named, and its file is taken for a queue."""
    queue = await opened(tmp_path / "queue.db")
    survey = Survey(tmp_path / "queue.db")
    assert survey.holder() == str(os.getpid())
    assert survey.set_aside_as() is None
    await queue.close()
    assert survey.holder() is None
    assert survey.bytes() == (tmp_path / "queue.db").stat().st_size > 0


def test_nothing(tmp_path: Path) -> None:
    """Where nothing is yet, nothing is held, nothing takes room, and nothing would be set aside."""
    survey = Survey(tmp_path / "queue.db")
    assert (survey.holder(), survey.bytes(), survey.set_aside_as()) == (None, 0, None)


def test_something_else(tmp_path: Path) -> None:
    """What is no queue is left alone, and the name that it would be given is told."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"a letter")
    aside = Survey(path).set_aside_as()
    assert aside is not None
    assert aside.name.startswith("queue.db.damaged-")
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A path that SQLite could not take is refused."""
    with pytest.raises(StorageError, match="are possible"):
        Survey(tmp_path / "q" / ("d/" * 300) / "queue.db").check_path()
