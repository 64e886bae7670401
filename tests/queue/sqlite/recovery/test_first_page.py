"""The first page of a queue file: spoiled, lost, replaced, or that of another program."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.queue.sqlite.files import QueueFile
from tests.queue.building import account, drain
from tests.queue.sqlite.files import opened
from tests.queue.sqlite.recovery.damaging import (
    EVENTS,
    PAGE,
    aside,
    check_account,
    check_nothing_is_lost,
    filled,
    overwrite,
    pages_of,
)


@pytest.mark.parametrize("at", [0, 15, 16, 17, 18, 19, 20, 21, 23, 47, 59])
async def test_a_header_that_is_spoiled(tmp_path: Path, at: int) -> None:
    """A flipped bit in what is the same in every queue's header costs nothing, though SQLite reads no such file."""
    path = tmp_path / "queue.db"
    await filled(path)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))
    await check_nothing_is_lost(path)
    assert len(aside(path)) == 1


@pytest.mark.parametrize("data", [bytes(PAGE), random.Random(1).randbytes(PAGE), b"letter\n" * 2340 + b"1234"])
async def test_a_first_page_that_is_lost(tmp_path: Path, data: bytes) -> None:
    """Without its first page a file is no database at all; nothing is lost, and that page is kept as it was."""
    path = tmp_path / "queue.db"
    await filled(path)
    overwrite(path, 1, data)
    await check_nothing_is_lost(path)
    [kept] = aside(path)
    assert QueueFile.FIRST_PAGE.beside(kept).read_bytes() == data


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (28, b"\x7f"),  # more pages than there are
        (31, b"\x05"),  # fewer of them
        (30, b"\0\3"),  # not even those of all tables
        (36, b"\x7f"),  # more free pages than there are
        (60, b"\x02"),  # a version that nobody has made
        (68, b"\x00"),  # another program
        (101, b"\xff"),  # the schema's tree
        (104, b"\x00"),  # its rows
    ],
)
async def test_a_first_page_that_is_spoiled(tmp_path: Path, at: int, data: bytes) -> None:
    """Whatever is wrong on the first page, nothing is lost."""
    path = tmp_path / "queue.db"
    await filled(path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    await check_nothing_is_lost(path)


@pytest.mark.parametrize("known", [b"CREATE TABLE segment", b"accepted_at REAL", b"segmentsegment"])
async def test_a_table_under_another_name(tmp_path: Path, known: bytes) -> None:
    """A schema that can be read, and says something else, is not believed."""
    path = tmp_path / "queue.db"
    await filled(path)
    page = overwrite(path, 1, bytes(PAGE))
    assert known in page
    overwrite(path, 1, page.replace(known, known[:-1] + b"X"))
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    assert (await account(queue)).dead == 10
    await queue.close()


@pytest.mark.parametrize("other", ["segment", "destination"])
async def test_two_tables_in_one_place(tmp_path: Path, other: str) -> None:
    """A schema in which two tables have the same first page is not believed: one would be written over the other."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'dead_segment'", pages_of(path, other))
    db.close()
    await check_nothing_is_lost(path)
    assert len(aside(path)) == 1


async def test_another_database_like_ours(tmp_path: Path) -> None:
    """Somebody else's database is set aside as it is, though its pages and tables are arranged as ours."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for number in range(12):
            db.execute(f"CREATE TABLE recipes{number} (name)")
    db.close()
    before = path.read_bytes()
    await check_account(path, least=0)
    [kept] = aside(path)
    assert kept.read_bytes() == before
