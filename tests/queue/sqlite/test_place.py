"""Whether the file that was opened is still in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.queue.sqlite.files import QueueFile
from forwarder.queue.sqlite.place import Place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file, and its log."""
    for file in (QueueFile.DATABASE, QueueFile.LOG):
        file.beside(tmp_path / "queue.db").touch()
    return tmp_path / "queue.db"


@pytest.fixture
def place(path: Path) -> Place:
    place = Place(path)
    place.remember()
    return place


def test_in_its_place(place: Place) -> None:
    """As long as both files are there, nothing is wrong."""
    assert place.is_known
    assert place.trouble() is None


@pytest.mark.parametrize(("file", "words"), [(QueueFile.DATABASE, "the queue's file"), (QueueFile.LOG, "the log")])
def test_removed_or_replaced(place: Place, path: Path, file: QueueFile, words: str) -> None:
    """A file that is gone is told, and so is another one in its place; what was put back is not."""
    found = file.beside(path)
    found.rename(path.with_name("away"))
    assert f"{words}" in (place.trouble() or "")
    assert "not there any more" in (place.trouble() or "")
    found.touch()
    assert "replaced" in (place.trouble() or "")
    path.with_name("away").rename(found)
    assert place.trouble() is None


def test_while_it_is_replaced_on_purpose(place: Place, path: Path) -> None:
    """What was forgotten is not missed; what is remembered afterwards is what is there then."""
    place.forget()
    path.unlink()
    assert not place.is_known
    assert place.trouble() is None
    path.touch()
    place.remember()
    path.unlink()
    assert place.trouble() is not None


def test_no_file(tmp_path: Path) -> None:
    """A queue that is in no file has nothing that could be taken away."""
    place = Place(tmp_path / "queue.db")
    place.remember()
    assert not place.is_known
    assert place.trouble() is None
