"""The queue's file: opened by one process, migrated, and set aside only when it is damaged."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.errors import DiskFullError, StorageError
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite import migration
from forwarder.queue.sqlite.database import Connection, map_error, open_database
from forwarder.queue.sqlite.schema import SCHEMA_VERSION
from forwarder.queue.sqlite.sizes import PAGE_BYTES

WAL_BYTES = 32 << 20


def value(db: sqlite3.Connection, statement: str) -> object:
    return db.execute(statement).fetchone()[0]


class TestErrors:
    @pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_FULL | 1 << 8])
    def test_disk_full(self, code: int) -> None:
        """A full disk is told from a broken one."""
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = code
        assert isinstance(map_error(error), DiskFullError)

    def test_anything_else(self) -> None:
        """Any other error carries SQLite's own words and the name of its code."""
        with closing(sqlite3.connect(":memory:")) as db, pytest.raises(sqlite3.OperationalError) as caught:
            db.execute("SELECT * FROM absent")
        mapped = map_error(caught.value)
        assert type(mapped) is StorageError
        assert mapped.message == "the queue's storage fails: no such table: absent (SQLITE_ERROR)"


class TestOpen:
    async def test_settings_that_promises_rest_on(self, tmp_path: Path) -> None:
        """A commit is synced, nobody else gets in, and pages, log and free space are as planned."""
        connection = await open_database(tmp_path / "queue.db", Logs(), wal_bytes=WAL_BYTES)
        try:
            pragmas = {
                name: await connection.run(lambda db, name=name: value(db, f"PRAGMA {name}"))  # type: ignore[misc]
                for name in ("journal_mode", "synchronous", "locking_mode", "page_size", "auto_vacuum", "secure_delete")
            }
            with (
                closing(sqlite3.connect(tmp_path / "queue.db", timeout=0)) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("SELECT * FROM destination")
        finally:
            await connection.close()
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "locking_mode": "exclusive",
            "page_size": PAGE_BYTES,
            "auto_vacuum": 2,
            "secure_delete": 0,
        }

    async def test_again(self, tmp_path: Path) -> None:
        """A queue that is opened again has what was in it, and its schema is left alone."""
        path = tmp_path / "queue.db"
        connection = await open_database(path, Logs(), wal_bytes=WAL_BYTES)
        await connection.run(lambda db: db.execute("INSERT INTO destination (name) VALUES ('main')"))
        await connection.close()
        connection = await open_database(path, Logs(), wal_bytes=WAL_BYTES)
        assert await connection.run(lambda db: value(db, "SELECT name FROM destination")) == "main"
        await connection.close()

    async def test_migrated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A queue of an older version is brought up to date, script by script, and keeps what is in it."""
        path = tmp_path / "queue.db"
        connection = await open_database(path, Logs(), wal_bytes=WAL_BYTES)
        await connection.run(lambda db: db.execute("INSERT INTO destination (name) VALUES ('main')"))
        await connection.close()
        monkeypatch.setattr(migration, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
        first = "ALTER TABLE destination ADD COLUMN note TEXT NOT NULL DEFAULT 'old'"
        scripts = {SCHEMA_VERSION + 1: first, SCHEMA_VERSION + 2: "UPDATE destination SET note = note || '!'"}
        monkeypatch.setattr(migration, "MIGRATIONS", scripts)
        monkeypatch.setattr("forwarder.queue.sqlite.database.SCHEMA_VERSION", SCHEMA_VERSION + 2)
        for _ in range(2):
            connection = await open_database(path, Logs(), wal_bytes=WAL_BYTES)
            assert await connection.run(lambda db: value(db, "SELECT note FROM destination")) == "old!"
            assert await connection.run(lambda db: value(db, "PRAGMA user_version")) == SCHEMA_VERSION + 2
            await connection.close()

    async def test_a_migration_that_fails_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A script that fails is undone as a whole, and the queue stays at its version."""
        path = tmp_path / "queue.db"
        await (await open_database(path, Logs(), wal_bytes=WAL_BYTES)).close()
        monkeypatch.setattr(migration, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        fails = {SCHEMA_VERSION + 1: "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1)"}
        monkeypatch.setattr(migration, "MIGRATIONS", fails)
        with pytest.raises(StorageError, match="nowhere"):
            await open_database(path, Logs(), wal_bytes=WAL_BYTES)
        with closing(sqlite3.connect(path)) as db, db:
            assert value(db, "PRAGMA user_version") == SCHEMA_VERSION
            assert value(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'more'") == 0
        db.close()

    async def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        """A path that cannot be a file is named, and no thread is left behind."""
        (tmp_path / "queue.db").mkdir()
        # The loop's own pool of threads stays.
        await asyncio.to_thread(len, "")
        before = set(threading.enumerate())
        with pytest.raises(StorageError):
            await open_database(tmp_path / "queue.db", Logs(), wal_bytes=WAL_BYTES)
        for thread in set(threading.enumerate()) - before:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()

    async def test_errors_are_ours(self, tmp_path: Path) -> None:
        """What SQLite raises inside a job reaches the caller as an error of ours; the connection goes on."""
        connection = await open_database(tmp_path / "queue.db", Logs(), wal_bytes=WAL_BYTES)
        with pytest.raises(StorageError, match="no such table"):
            await connection.run(lambda db: db.execute("SELECT * FROM absent"))
        assert await connection.run(lambda db: value(db, "SELECT 1")) == 1
        await connection.close()

    async def test_a_cancelled_job_is_finished(self, tmp_path: Path) -> None:
        """A job whose caller is cancelled is not cut in half."""
        connection: Connection = await open_database(tmp_path / "queue.db", Logs(), wal_bytes=WAL_BYTES)
        job = asyncio.create_task(
            connection.run(lambda db: db.execute("INSERT INTO destination (name) VALUES ('main')").fetchall())
        )
        await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait([job])
        assert await connection.run(lambda db: value(db, "SELECT count(*) FROM destination")) == 1
        await connection.close()
