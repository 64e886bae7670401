"""The write-ahead log after a crash: one damaged frame does not take the commits behind it along."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from forwarder.model import Counters
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.recovery.wal import mend_log
from tests.queue.building import account, drain, segment
from tests.queue.sqlite.files import found_in, opened, restore

SEGMENTS = 60
EVENTS = SEGMENTS * 10
HEADER = 32
FRAME = 24 + 16 * 1024
_LEFT: list[tuple[bytes, bytes]] = []


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


async def left_by_a_crash(path: Path) -> bytes:
    """Write a queue of SEGMENTS commits as a killed process leaves it: all in the log; return the log."""
    if not _LEFT:
        queue = await opened(path)
        for first in range(0, EVENTS, 10):
            await queue.append([segment(first, 10, filler=1000)])
        _LEFT.append((found_in(path), found_in(log_of(path))))
        await queue.close()
    database, log = _LEFT[0]
    restore(path, database)
    restore(log_of(path), log)
    lock = InstanceLock(path)
    lock.acquire()
    lock.note(max(lock.noted(), EVENTS))
    lock.release()
    return log


def spoil(path: Path, at: int, bit: int = 0) -> None:
    """Flip a bit of the log."""
    data = bytearray(log_of(path).read_bytes())
    data[at] ^= 1 << bit
    log_of(path).write_bytes(data)


def aside(path: Path) -> list[Path]:
    return list(path.parent.glob("*-wal.damaged-*"))


async def test_whole(tmp_path: Path) -> None:
    """A log that is whole stays as it is."""
    log = await left_by_a_crash(tmp_path / "queue.db")
    assert mend_log(tmp_path / "queue.db", Logs()) is None
    assert found_in(log_of(tmp_path / "queue.db")) == log


@pytest.mark.parametrize(
    "content", [b"", b"x" * 31, b"left over" * 20000, bytes(5 * FRAME), random.Random(1).randbytes(5 * FRAME)]
)
def test_no_log(tmp_path: Path, content: bytes) -> None:
    """What is no log at all is left to SQLite, which begins a new one."""
    log_of(tmp_path / "queue.db").write_bytes(content)
    assert mend_log(tmp_path / "queue.db", Logs()) is None
    log_of(tmp_path / "queue.db").unlink()
    assert mend_log(tmp_path / "queue.db", Logs()) is None


async def delivered_of(path: Path) -> tuple[list[int], Counters]:
    """Deliver all of a queue; return the events, which are in order, and the account, which knows of all of them."""
    queue = await opened(path)
    delivered = await drain(queue)
    found = await account(queue)
    await queue.close()
    assert delivered == sorted(set(delivered))
    assert found.accepted == EVENTS
    return delivered, found


@pytest.mark.parametrize("at", [*range(0, HEADER, 3), *(HEADER + 20 * FRAME + at for at in range(24))])
async def test_a_head_that_is_spoiled(tmp_path: Path, at: int) -> None:
    """A flipped bit in the head of the log, or of a frame, loses nothing, or one commit, and that not in silence."""
    path = tmp_path / "queue.db"
    log = await left_by_a_crash(path)
    spoil(path, at, 2)
    _, found = await delivered_of(path)
    assert found.dead + found.dropped <= 10
    [kept] = aside(path)
    assert found_in(kept)[:at] + bytes([found_in(kept)[at] ^ 4]) + found_in(kept)[at + 1 :] == log


async def test_a_frame_of_no_page(tmp_path: Path) -> None:
    """A frame that names no page keeps nobody from those behind it; what was on its page is as it was before."""
    path = tmp_path / "queue.db"
    log = await left_by_a_crash(path)
    at = HEADER + 20 * FRAME
    restore(log_of(path), log[:at] + bytes(4) + log[at + 4 :])
    _, found = await delivered_of(path)
    assert found.delivered >= EVENTS - 20
    assert len(aside(path)) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_a_page_that_is_spoiled(tmp_path: Path, seed: int) -> None:
    """A flipped bit in a page of the log costs at most what is on that page."""
    path = tmp_path / "queue.db"
    chance = random.Random(seed)
    log = await left_by_a_crash(path)
    frame = chance.randrange(len(log) // FRAME - 10)
    spoil(path, HEADER + frame * FRAME + 24 + chance.randrange(FRAME - 24), chance.randrange(8))
    delivered, found = await delivered_of(path)
    assert len(delivered) >= EVENTS - 20
    assert len(delivered) + found.dead + found.dropped == EVENTS
    assert len(aside(path)) == 1


async def test_the_last_commit(tmp_path: Path) -> None:
    """Of a last commit that is not whole nobody knows whether it was acknowledged: it is not brought back, but told."""
    path = tmp_path / "queue.db"
    log = await left_by_a_crash(path)
    spoil(path, len(log) - 100)
    with structlog.testing.capture_logs() as lines:
        assert mend_log(path, Logs()) is None
    assert [line["event"] for line in lines] == ["queue.log_cut"]
    await check_missing(path, 10)


async def check_missing(path: Path, missing: int) -> None:
    """Open a queue whose log has lost its end: it is said once how much that is, and the rest is delivered."""
    for found in ([missing], []):
        with structlog.testing.capture_logs() as lines:
            queue = await opened(path)
        assert [line["events"] for line in lines if line["event"] == "queue.events_missing"] == found
        await queue.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS - missing))
    await queue.close()


async def test_a_log_that_is_removed(tmp_path: Path) -> None:
    """Without the log of a process that was killed, the file is as it was at the last checkpoint; that is counted."""
    path = tmp_path / "queue.db"
    await left_by_a_crash(path)
    log_of(path).unlink()
    await check_missing(path, EVENTS)


async def test_an_older_copy(tmp_path: Path) -> None:
    """A queue that is put back from a copy knows nothing of what came after it; that is counted."""
    path = tmp_path / "queue.db"
    await left_by_a_crash(path)
    queue = await opened(path)
    await queue.append([segment(EVENTS, 70)])
    await queue.close()
    await left_by_a_crash(path)
    with structlog.testing.capture_logs() as lines:
        queue = await opened(path)
    assert [line["events"] for line in lines] == [70]
    await queue.close()


async def test_a_log_that_is_cut_off(tmp_path: Path) -> None:
    """A log that ends in a commit, as after a crash, is not called damaged."""
    path = tmp_path / "queue.db"
    log = await left_by_a_crash(path)
    restore(log_of(path), log[:-FRAME])
    with structlog.testing.capture_logs() as lines:
        assert mend_log(path, Logs()) is None
    assert lines == []


@pytest.mark.parametrize("sizes", [(9, 5, 2), (9, 5), (9, 9), (9, 2, 5), (12, 9, 6, 3)])
def test_what_failed_is_not_brought_back(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Commits of which the sync failed lie behind the one that went through, each cut off by the next."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db, db:
        db.execute("PRAGMA page_size = 16384")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY, data BLOB)")
        before = path.read_bytes(), log_of(path).read_bytes()
    db.close()
    left = b""
    for commit, pages in enumerate(sizes):
        restore(path, before[0])
        restore(log_of(path), before[1])
        with closing(sqlite3.connect(path, isolation_level=None)) as db, db:
            # As it writes to the log that it has found, it goes on behind what is there.
            db.execute("BEGIN")
            for _ in range(pages):
                db.execute("INSERT INTO pages (data) VALUES (?)", (bytes([commit]) * 12000,))
            db.execute("COMMIT")
            log = log_of(path).read_bytes()
        db.close()
        left = log + left[len(log) :]
    restore(path, before[0])
    restore(log_of(path), left)
    assert mend_log(path, Logs()) is None
    with closing(sqlite3.connect(path)) as db, db:
        found = db.execute("SELECT count(*), min(substr(data, 1, 1)) FROM pages").fetchone()
    db.close()
    assert found == (sizes[-1], bytes([len(sizes) - 1]))
