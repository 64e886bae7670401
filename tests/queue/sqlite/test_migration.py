"""The schema of the file: a new one, one of an older version, one of a newer version."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from forwarder.errors import NewerQueueError, StorageError
from forwarder.model import Burial, DeadFilter
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite import migration
from forwarder.queue.sqlite.database import open_database
from forwarder.queue.sqlite.letters import DeadRow
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from tests.queue.building import LIMITS, account, event, segment
from tests.queue.sqlite.files import opened

VERSION_1 = Path(__file__).with_name("version1.sql").read_text(encoding="utf-8")
WAL_BYTES = 1 << 20
LETTERS = 1200


def statement(name: str) -> str:
    """Return how version 1 made a table or an index."""
    start = VERSION_1.index(f"CREATE {name}")
    return VERSION_1[start : VERSION_1.index(";", start) + 1]


def old_queue(path: Path, letters: int = LETTERS) -> None:
    """Write a queue as version 1 did, with dead letters: every hundred of them died together, of two destinations."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")
        for name in ("TABLE destination", "TABLE segment", "TABLE settled", "TABLE dead", "INDEX dead_by_destination"):
            db.execute(statement(name))
        db.execute(statement("INDEX dead_by_event"))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("BEGIN")
        for number in (1, 2):
            values = (number, ("main", "other")[number - 1], letters // 2, letters // 2)
            db.execute("INSERT INTO destination (id, name, accepted, dead) VALUES (?, ?, ?, ?)", values)
        for number in range(letters):
            about = (1 + number // 100 % 2, f"id {number}", "rejected", 400, f"no {number // 100}", 1.0, number // 100)
            db.execute(
                "INSERT INTO dead (destination, event_id, reason, status, detail, accepted_at, died_at, event)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*about, event(number)),
            )
        db.execute("DELETE FROM dead WHERE id = ?", (letters,))
        db.execute("UPDATE destination SET dead = dead - 1, dropped = 1 WHERE id = ?", (1 + (letters - 1) // 100 % 2,))
        # Each event took its bytes and 48 more.
        sizes = "SELECT sum(length(event) + 48) FROM dead WHERE dead.destination = destination.id"
        db.execute(f"UPDATE destination SET dead_bytes = ({sizes})")
        db.execute("COMMIT")


async def check_letters(path: Path) -> None:
    """The letters of `old_queue` are there with their numbers, and a new one gets a number of its own."""
    queue = await opened(path)
    letters = [letter async for letter in queue.dead_letters(DeadFilter())]
    assert [letter.id for letter in letters] == list(range(1, LETTERS))
    assert [letter.event for letter in letters] == [event(number) for number in range(LETTERS - 1)]
    assert {(letter.died_at, letter.detail) for letter in letters[300:400]} == {(3.0, "no 3")}
    assert [letter.destination for letter in letters[::100]] == ["main", "other"] * (LETTERS // 200)
    found = [await account(queue, name) for name in ("main", "other")]
    assert [one.dead for one in found] == [LETTERS // 2, LETTERS // 2 - 1]
    await queue.append([segment(0)])
    [batch] = await queue.take("main", LIMITS)
    await queue.settle(batch, Burial("rejected"))
    assert [letter.id async for letter in queue.dead_letters(DeadFilter(reason="rejected"))][-1] == LETTERS + 1
    assert await queue.purge_dead(DeadFilter()) == LETTERS
    assert [(await account(queue, name)).dead_bytes for name in ("main", "other")] == [0, 0]
    await queue.close()


class TestVersion1:
    async def test_letters_are_moved(self, tmp_path: Path) -> None:
        """Letters that died together become one segment; numbers, accounts and order stay; it is told."""
        path = tmp_path / "queue.db"
        old_queue(path)
        with structlog.testing.capture_logs() as lines:
            await (await open_database(path, Logs(), wal_bytes=WAL_BYTES)).close()
        assert [line["event"] for line in lines] == ["queue.migrating"]
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*), sum(events) FROM dead_segment").fetchone() == (12, LETTERS - 1)
            assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dead'").fetchone()
        await check_letters(path)

    async def test_in_steps(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No transaction moves more than a step, and one that fails leaves the rest to the next start."""
        monkeypatch.setattr(migration, "_STEP_ROWS", 70)
        path = tmp_path / "queue.db"
        old_queue(path)
        moved = list[int]()
        as_rows = migration.as_rows

        def failing(letters: Sequence[migration.OldLetter]) -> list[DeadRow]:
            moved.append(len(letters))
            if len(moved) % 4 == 0:
                raise sqlite3.OperationalError("the machine is gone")
            return as_rows(letters)

        monkeypatch.setattr(migration, "as_rows", failing)
        while True:
            try:
                connection = await open_database(path, Logs(), wal_bytes=WAL_BYTES)
            except StorageError:
                # In between, each letter is in one of the two tables.
                with closing(sqlite3.connect(path)) as db:
                    [left] = db.execute("SELECT count(*) FROM dead").fetchone()
                    [done] = db.execute("SELECT ifnull(sum(events), 0) FROM dead_segment").fetchone()
                assert left + done == LETTERS - 1
                continue
            break
        await connection.close()
        assert len(moved) > 20
        assert max(moved) == 70
        await check_letters(path)

    async def test_the_file_is_laid_out_as_a_new_one(self, tmp_path: Path) -> None:
        """Tables are where those of a new file are, so that a first page that is lost can be made again."""
        old_queue(tmp_path / "old.db")
        roots = []
        for name in ("old.db", "new.db"):
            await (await open_database(tmp_path / name, Logs(), wal_bytes=WAL_BYTES)).close()
            with closing(sqlite3.connect(tmp_path / name)) as db:
                roots.append(dict(db.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage").fetchall()))
        assert roots[0] == roots[1]

    async def test_damaged_before_it_was_moved(self, tmp_path: Path) -> None:
        """What can be read of the letters of a damaged file of version 1 is kept, with its numbers."""
        path = tmp_path / "queue.db"
        old_queue(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE destination SET tail = 1 << 50")
        await check_letters(path)


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if not file.name.endswith(".lock")}


class TestNewer:
    @pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99, 1000])
    async def test_refused_and_untouched(self, tmp_path: Path, version: int) -> None:
        """A queue of a newer version is refused with a code of its own, and not a byte of it is changed."""
        path = tmp_path / "queue.db"
        queue = await opened(path)
        await queue.append([segment(0, 10)])
        await queue.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version = {version}")
            db.execute("DROP TABLE dead_segment")
        before = files_of(tmp_path)
        for _ in range(2):
            with pytest.raises(NewerQueueError, match=f"schema {version}") as caught:
                await SqliteQueue.open(path, Logs(), max_bytes=64 << 20)
            assert caught.value.exit_code == 78
            assert files_of(tmp_path) == before

    async def test_in_the_log(self, tmp_path: Path) -> None:
        """A version that only the log of a crash tells of is seen, and the log stays."""
        path = tmp_path / "queue.db"
        queue = await opened(path)
        await queue.append([segment(0, 10)])
        await queue.close()
        left = tmp_path / "left"
        left.mkdir()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
            for suffix in ("", "-wal"):
                shutil.copy(path.with_name(path.name + suffix), left)
        before = files_of(left)
        assert before["queue.db-wal"]
        with pytest.raises(NewerQueueError):
            await SqliteQueue.open(left / "queue.db", Logs(), max_bytes=64 << 20)
        assert files_of(left) == before

    async def test_the_lock_is_end_lease(self, tmp_path: Path) -> None:
        """Who is refused holds nothing: the newer version can start."""
        path = tmp_path / "queue.db"
        await (await opened(path)).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        with pytest.raises(NewerQueueError):
            await SqliteQueue.open(path, Logs(), max_bytes=64 << 20)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        await asyncio.sleep(0)
        await (await opened(path)).close()
