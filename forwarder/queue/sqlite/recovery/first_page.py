"""The first page of a queue file, which says where its tables are: without it SQLite reads nothing.

In every queue of one version this page is the same, except for numbers that matter only to a writer. So where it is
spoiled, the page of an empty queue is put in its place to read the tables with, and what was there is kept in a file
beside it.

Whether a file is a queue at all is told by the program's id in that page. If the page is lost, the pointer map on the
next one tells: it says where the tables begin, and in a queue they begin where they do in an empty one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from forwarder.queue.sqlite.files import QueueFile
from forwarder.queue.sqlite.folder import put_file
from forwarder.queue.sqlite.recovery import wal
from forwarder.queue.sqlite.schema import APPLICATION_ID, MOST_VERSIONS, columns_of, roots_of
from forwarder.queue.sqlite.sizes import PAGE_BYTES

# What stands at which place of every queue's header (https://sqlite.org/fileformat2.html#the_database_header): the
# name of the format, page size, versions and fractions, the format of the schema, the encoding of text.
_HEADER = ((0, b"SQLite format 3\0"), (16, b"\x40\0\x02\x02\0\x40\x20\x20"), (44, b"\0\0\0\x04"), (56, b"\0\0\0\x01"))
_CHANGES = slice(24, 28)
_PAGES = slice(28, 32)
_FREE = slice(32, 40)
_APPLICATION = slice(68, 72)
_CHANGES_AT_PAGES = slice(92, 96)
# A pointer map's entry for the first page of a table or index.
_ROOT = b"\x01\0\0\0\0"

T = TypeVar("T")


def is_spoiled(path: Path) -> bool:
    """Say whether the header of a queue is not that of a queue, or was not before: SQLite may not even open it."""
    if QueueFile.FIRST_PAGE.beside(path).exists():
        return True
    page = _read(path, PAGE_BYTES)
    return _has_id(page) and not _is_sound(page)


def begins_as_queue(path: Path) -> bool:
    """Say whether a file has the program's id, or nothing yet. Raises OSError."""
    page = _read(path, PAGE_BYTES)
    return not page or _has_id(page)


def version_of(path: Path) -> int:
    """Return the version of a queue's schema, 0 where that cannot be told. Raises OSError."""
    page = wal.newest_first_page(path) or _read(path, PAGE_BYTES)
    version = int.from_bytes(_version(page), "big") if _has_id(page) else 0
    return version if version < MOST_VERSIONS else 0


def mend(path: Path, empty: Path) -> None:
    """Give a damaged queue the first page of an `empty` one, where its own cannot be used. Raises OSError."""
    found, new = _read(path, 2 * PAGE_BYTES), _read(empty, 2 * PAGE_BYTES)
    if not _is_queue(path, found, new) or _is_usable(path, found, empty):
        return
    kept = QueueFile.FIRST_PAGE.beside(path)
    if not kept.exists():
        put_file(kept, found[:PAGE_BYTES])
    page = bytearray(new[:PAGE_BYTES])
    # Where these two differ, SQLite goes by the size of the file.
    page[_CHANGES], page[_CHANGES_AT_PAGES] = b"\0\0\0\x02", b"\0\0\0\x01"
    page[_FREE] = bytes(8)
    with path.open("r+b") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())


def _has_id(page: bytes) -> bool:
    return page[_APPLICATION] == APPLICATION_ID.to_bytes(4, "big")


def _is_queue(path: Path, found: bytes, new: bytes) -> bool:
    if _has_id(found):
        # One of another version has other tables.
        return not _is_sound(found) or _version(found) == _version(new)
    roots = 0
    while new.startswith(_ROOT, PAGE_BYTES + roots * len(_ROOT)):
        roots += 1
    # Somebody else's database may begin so, too, but it can be read.
    return found.startswith(_ROOT * roots, PAGE_BYTES) and _read_with(path, roots_of) is None


def _version(page: bytes) -> bytes:
    return page[60:64]


def _is_sound(page: bytes) -> bool:
    return all(page.startswith(known, at) for at, known in _HEADER)


def _is_whole(path: Path, page: bytes) -> bool:
    """Say whether the number of pages is that of the file, or does not count."""
    is_counted = page[_CHANGES] == page[_CHANGES_AT_PAGES]
    return not is_counted or int.from_bytes(page[_PAGES], "big") * PAGE_BYTES == path.stat().st_size


def _is_usable(path: Path, found: bytes, empty: Path) -> bool:
    """Say whether the page leads to all tables; those need not be where they were made, after a VACUUM."""
    if not _is_sound(found) or not _is_whole(path, found):
        return False
    columns, roots = _read_with(path, columns_of), _read_with(path, roots_of)
    if columns is None or roots is None or not columns.issuperset(_read_with(empty, columns_of) or ()):
        return False
    # The map's first entry is that of page 3.
    at = [PAGE_BYTES + len(_ROOT) * (root - 3) for root in roots]
    return len(set(at)) == len(at) and all(place >= PAGE_BYTES and found.startswith(_ROOT, place) for place in at)


def _read_with(path: Path, read: Callable[[sqlite3.Connection], T]) -> T | None:
    """Return what is read of a file, or None where it cannot be."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # What is damaged need not be text.
        db.text_factory = bytes
        try:
            db.execute("PRAGMA writable_schema = ON")
            return read(db)
        except sqlite3.DatabaseError:
            return None


def _read(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""
