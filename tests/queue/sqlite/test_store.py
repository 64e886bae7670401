"""Transactions of the store: what fails leaves no trace."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from forwarder.errors import StorageError
from forwarder.queue.base import Share
from forwarder.queue.sqlite import views
from forwarder.queue.sqlite.store import Store
from tests.queue.building import numbers, segment
from tests.queue.sqlite.stores import Desk


def broken(_store: Store) -> None:
    raise sqlite3.OperationalError("the disk is gone")


def test_a_destination_of_a_failed_transaction_is_unknown(tmp_path: Path) -> None:
    """A destination that could not be written is added the next time; its events are not queued for nobody."""
    path = tmp_path / "queue.db"
    desk = Desk(path)
    shares = {"main": Share(), "new": Share()}
    with pytest.raises(StorageError):
        desk.store.transact([lambda store: store.configure(shares), broken])
    assert set(desk.store.destinations) == {"main"}
    desk.write(lambda store: store.configure(shares))
    desk.append(segment(0, 3, destination="new"))
    desk.close()
    desk = Desk(path, shares=shares)
    batch = desk.take(name="new")
    assert batch is not None
    assert numbers(batch.data) == [0, 1, 2]
    desk.close()


def test_a_bug_in_one_write_undoes_all() -> None:
    """An error that nobody expects undoes the transaction, and the store goes on."""
    desk = Desk()

    def bug(_store: Store) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        desk.store.transact([lambda store: store.append([segment(0)]), bug])
    assert views.counters(desk.store, "main").accepted == 0
    desk.append(segment(1))
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == [1]


def test_requests_of_one_commit_become_few_rows() -> None:
    """Small segments that meet in a transaction are joined, up to a size, in their order."""
    desk = Desk()
    desk.store.transact([lambda store, n=n: store.append([segment(n, filler=10_000)]) for n in range(60)])  # type: ignore[misc]
    sizes = desk.column("SELECT size FROM segment ORDER BY id")
    assert 2 <= len(sizes) <= 4
    assert max(sizes) <= 256 * 1024
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == list(range(60))


def test_paused_is_remembered(tmp_path: Path) -> None:
    """Whether a destination is paused stands in the file."""
    desk = Desk(tmp_path / "queue.db")
    desk.write(lambda store: store.set_paused("main", True))
    desk.close()
    desk = Desk(tmp_path / "queue.db")
    assert views.counters(desk.store, "main").paused
    desk.close()


def test_space_is_handed_back(tmp_path: Path) -> None:
    """Pages that are free are handed back to the file system, step by step."""
    desk = Desk(tmp_path / "queue.db")
    for first in range(0, 1000, 10):
        desk.append(segment(first, 10, filler=1000))
    desk.purge()
    free = desk.store.free_bytes
    assert free > 1 << 20
    desk.store.vacuum(10, 0)
    assert desk.store.free_bytes < free
    while desk.store.free_bytes:
        desk.store.vacuum(1000, 0)
    assert (tmp_path / "queue.db").stat().st_size < 1 << 20
    desk.close()


def test_a_probe_changes_nothing() -> None:
    """A probe goes through a whole commit and changes no account."""
    desk = Desk()
    desk.append(segment(0, 3))
    before = views.counters(desk.store, "main")
    desk.write(Store.probe)
    assert views.counters(desk.store, "main") == before


def test_a_probe_writes(tmp_path: Path) -> None:
    """A probe is a commit that reaches the disk: one that writes nothing would call a broken disk mended."""
    desk = Desk(tmp_path / "queue.db")
    desk.db.execute("PRAGMA journal_mode = WAL")
    for _ in range(2):
        desk.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        desk.write(Store.probe)
        assert (tmp_path / "queue.db-wal").stat().st_size > 0
    desk.close()
