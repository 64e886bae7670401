"""Segments found in the pages of a file: all of them, and nothing else, whatever the pages hold."""

from __future__ import annotations

import random
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.queue.sqlite.checksum import checksum
from forwarder.queue.sqlite.letters import DeadRow
from forwarder.queue.sqlite.recovery.pages import segments
from forwarder.queue.sqlite.sizes import PAGE_BYTES
from tests.queue.sqlite.stores import Desk

# Sizes around those at which a row goes on to pages of its own: to one, to two.
SIZES = [1, 100, 4000, 16_300, *range(16_320, 16_345), 20_000, 2 * 16_380, 2 * 16_380 + 2100, 300_000]


def filled(path: Path) -> list[tuple[int, int, bytes]]:
    """Write a queue with a row of each size; return number, events and data of each."""
    desk = Desk(path)
    rows = []
    for number, size in enumerate(SIZES):
        row, data = (1 << 48) + number * 1000, bytes([65 + number % 26]) * size + b"\n"
        rows.append((row, number % 3, data))
        values = (row, number % 3, len(data), number / 2, checksum(row, number % 3, data), data)
        desk.db.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", values)
    desk.close()
    return rows


def test_all_are_found(tmp_path: Path) -> None:
    """Each row is found, of whatever size, with its columns."""
    path = tmp_path / "queue.db"
    rows = filled(path)
    found = sorted(row for row in segments(path) if not isinstance(row, DeadRow))
    assert [(row, events, data) for row, events, _, _, _, data in found] == rows
    assert [(size, when) for _, _, size, when, _, _ in found] == [
        (len(data), number / 2) for number, (_, _, data) in enumerate(rows)
    ]


def test_what_was_deleted_is_not_found(tmp_path: Path) -> None:
    """Rows that were deleted, on pages that were given back or not, are gone."""
    path = tmp_path / "queue.db"
    rows = filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM segment WHERE id % 2000 = ?", ((1 << 48) % 2000,))
    db.close()
    assert sorted(row[0] for row in segments(path) if not isinstance(row, DeadRow)) == [row for row, _, _ in rows][1::2]


def beyond_bounds() -> bytes:
    """Return a cell that is right in all but its number, which no row can have."""
    data, row = b"x\n", (1 << 64) - 1
    head = bytes([7, 0, 1, 1, 7, 5, 12 + 2 * len(data)])
    body = bytes([1, len(data)]) + struct.pack(">d", 0.0) + checksum(row, 1, data).to_bytes(6, "big") + data
    return bytes([len(head) + len(body)]) + b"\xff" * 9 + head + body


@pytest.mark.parametrize("seed", range(20))
def test_nonsense(tmp_path: Path, seed: int) -> None:
    """Bytes that look like pages of rows, and are none, are stepped over."""
    chance = random.Random(seed)
    path = tmp_path / "queue.db"
    pages = [b""]
    for _ in range(20):
        # A page has no place for most of these numbers of rows.
        head = b"\x0d" + struct.pack(">HHHB", 0, chance.choice([0, 3, 50, 65535]), 0, 0)
        # Real numbers that are none, sizes and row numbers beyond all bounds, pages that lead in a circle.
        cell = chance.choice(
            [
                bytes([26, 1, 7, 0, 7, 1, 7, 1, 14]) + struct.pack(">d", chance.choice([float("inf"), float("nan")])),
                b"\xff" * 9 + b"\xff" * 9 + bytes([7, 0, 1, 1, 7, 1, 14]),
                beyond_bounds(),
                b"\x90\x80\x00" + bytes([1, 9, 0, 1, 1, 7, 1, 0x88, 0x80, 0x01]),
                chance.randbytes(40),
            ]
        )
        # The first row stands where the places of the rows end; all other places hold no row.
        cells = (struct.pack(">H", 8200) + bytes(8192))[:8192]
        pages.append((head + cells + cell + struct.pack(">I", 2) * 5000)[:PAGE_BYTES])
    path.write_bytes(bytes(PAGE_BYTES) + b"".join(page.ljust(PAGE_BYTES, b"\0") for page in pages if page))
    assert list(segments(path)) == []


def test_a_page_more_or_less(tmp_path: Path) -> None:
    """A file that does not end with a page is read up to there, and an empty one is nothing."""
    path = tmp_path / "queue.db"
    filled(path)
    data = path.read_bytes()
    path.write_bytes(data + b"\x0d" * 100)
    assert len(list(segments(path))) == len(SIZES)
    path.write_bytes(b"")
    assert list(segments(path)) == []
