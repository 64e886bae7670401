"""The names of a queue's files."""

from __future__ import annotations

from pathlib import Path

from forwarder.queue.sqlite.files import DATABASE_FILES, QueueFile, damaged_name
from forwarder.queue.sqlite.folder import MAX_NAME


def test_all_stand_beside_the_database(tmp_path: Path) -> None:
    """Each file has a name of its own, in the folder of the database."""
    path = tmp_path / "queue.db"
    files = [file.beside(path) for file in QueueFile]
    assert len(set(files)) == len(QueueFile)
    assert {file.parent for file in files} == {tmp_path}
    assert QueueFile.DATABASE.beside(path) == path


def test_a_damaged_file_takes_no_name_that_is_in_use(tmp_path: Path) -> None:
    """Files that are damaged within one second are all kept."""
    path, names = tmp_path / "queue.db", list[Path]()
    for _ in range(3):
        names.append(damaged_name(path))
        names[-1].touch()
    assert len(set(names)) == 3
    assert all(name.name.startswith("queue.db.damaged-") for name in names)


def test_the_longest_names_fit_into_a_folder(tmp_path: Path) -> None:
    """Whatever stands beside a queue whose name is as long as it may be has at most the 255 bytes of a name."""
    path = tmp_path / ("q" * MAX_NAME)
    aside = damaged_name(path)
    aside = aside.with_name(aside.name + "-99")
    kept = damaged_name(QueueFile.LOG.beside(path)).name + "-99"
    # What is put in its place in one step has a longer name before.
    unfinished = [f"{name}.new" for name in (kept, *(file.beside(path).name for file in QueueFile))]
    assert max(map(len, [file.beside(aside).name for file in DATABASE_FILES] + unfinished)) <= 255
