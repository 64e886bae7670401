"""Find segments in the pages of a damaged queue file, whatever became of the trees that lead to them.

A page of a table's rows is known by its type, and a row by the types of its columns and its own checksum. So nothing is
ever found that is not a segment of this queue, be it queued or dead. Pages that were given back still hold segments
that are settled; the file's pointer maps say which pages those are.

The format is described at https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forwarder.queue.sqlite.checksum import is_whole
from forwarder.queue.sqlite.letters import DeadRow, read_row
from forwarder.queue.sqlite.sizes import PAGE_BYTES

# Page types, and the longest piece of a row that stays in the page of its table (section 1.6).
_LEAF = b"\x0d"
_INLINE = PAGE_BYTES - 35
_LEAST = (PAGE_BYTES - 12) * 32 // 255 - 23
# How a pointer map says that a page is not used (section 1.8); the pages that one map tells of.
_FREE = b"\x02\0\0\0\0"
_MAPPED = PAGE_BYTES // 5
# This page is never used: SQLite's locks are on its bytes.
_LOCK_PAGE = (1 << 30) // PAGE_BYTES + 1
# How many bytes an integer of each serial type takes (section 2.1).
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_REAL = 7
# From here on a type says how long the value is: an even number is a blob, an odd one text.
_BLOB = 12
# How many columns the rows of the two tables have.
_SEGMENT = 6
_DEAD_SEGMENT = 10

Segment = tuple[int, int, int, float, int, bytes]


def segments(path: Path) -> Iterator[Segment | DeadRow]:
    """Yield the rows of all segments whose checksum is right, in the order of the file. Raises OSError.

    A row of the queue is number, events, size in bytes, time of acceptance, checksum, data.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = os.fstat(descriptor).st_size // PAGE_BYTES
        # The first page is that of the schema.
        for number in range(2, pages + 1):
            page = _page(descriptor, number)
            if page[:1] == _LEAF and not _is_free(descriptor, number):
                for cell in struct.unpack_from(f">{min(_count(page), PAGE_BYTES // 4)}H", page, 8):
                    try:
                        found = _segment(descriptor, page, cell)
                    except (IndexError, OverflowError, ValueError, struct.error):
                        # Not a row at all.
                        continue
                    if found is not None:
                        yield found
    finally:
        os.close(descriptor)


def _page(descriptor: int, number: int) -> bytes:
    """Return a page, or nothing for one that the disk does not give."""
    try:
        return os.pread(descriptor, PAGE_BYTES, (number - 1) * PAGE_BYTES)
    except OSError:
        return b""


def _count(page: bytes) -> int:
    return int.from_bytes(page[3:5], "big")


def _is_free(descriptor: int, number: int) -> bool:
    pointers = (number - 2) // (_MAPPED + 1) * (_MAPPED + 1) + 2
    pointers += pointers == _LOCK_PAGE
    at = len(_FREE) * (number - pointers - 1)
    return number > pointers and _page(descriptor, pointers).startswith(_FREE, at)


def _segment(descriptor: int, page: bytes, cell: int) -> Segment | DeadRow | None:
    """Return the segment of a cell, or None where it is none, or raise as any reading of nonsense does."""
    size, at = _varint(page, cell)
    row, at = _varint(page, at)
    kept = _kept(size)
    head, after = page[at : at + kept], page[at + kept : at + kept + 4]
    header, place = _varint(head, 0)
    types = []
    while place < header:
        kind, place = _varint(head, place)
        types.append(kind)
    # Its number is the row's, so the first column is empty; the last are the data, of at least a line.
    if len(types) not in {_SEGMENT, _DEAD_SEGMENT} or types[0] != 0 or types[-1] < 14 or types[-1] % 2 or row >> 63:
        return None
    if place + sum(map(_size, types)) != size:
        return None
    values, body = list[Any]([row]), head + _overflow(descriptor, after, size - kept)
    for kind in types[1:]:
        values.append(_value(body, place, kind))
        place += _size(kind)
    if len(types) == _DEAD_SEGMENT:
        found = read_row(values)
        return found if found is not None and found.is_whole else None
    _row, events, length, accepted_at, expected, data = values
    if not is_whole(row, int(events), data, expected):
        return None
    return row, int(events), int(length), float(accepted_at), int(expected), data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1


def _size(kind: int) -> int:
    """Return how many bytes a value of a serial type takes."""
    if kind >= _BLOB:
        return (kind - _BLOB) // 2
    return 8 if kind == _REAL else _INTEGERS.get(kind, 0)


def _value(data: bytes, at: int, kind: int) -> Any:
    """Return a value; raises ValueError for a serial type that is none."""
    piece = data[at : at + _size(kind)]
    if len(piece) < _size(kind):
        raise ValueError(kind)
    if kind >= _BLOB:
        return piece.decode() if kind % 2 else piece
    if kind == _REAL:
        return struct.unpack(">d", piece)[0]
    if kind in _INTEGERS:
        return int.from_bytes(piece, "big", signed=True)
    if kind in {0, 8, 9}:
        return None if kind == 0 else kind - 8
    raise ValueError(kind)


def _kept(size: int) -> int:
    """Return how many of a row's bytes are in the page of its table."""
    if size <= _INLINE:
        return size
    kept = _LEAST + (size - _LEAST) % (PAGE_BYTES - 4)
    return kept if kept <= _INLINE else _LEAST


def _overflow(descriptor: int, first: bytes, size: int) -> bytes:
    """Return the bytes of a row that are on pages of their own, each of which names the next."""
    pieces = []
    seen = set()
    while size > 0:
        number = int.from_bytes(first, "big")
        page = _page(descriptor, number) if number else b""
        if len(page) < PAGE_BYTES or number in seen:
            raise ValueError(number)
        seen.add(number)
        piece = page[4 : 4 + size]
        pieces.append(piece)
        size -= len(piece)
        first = page[:4]
    return b"".join(pieces)
