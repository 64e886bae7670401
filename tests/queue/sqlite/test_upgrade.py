"""Queues that earlier versions have left: opened, delivered and accounted for by the program of today."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.model import Address, DeadFilter
from forwarder.queue.sqlite.schema import SCHEMA_VERSION
from forwarder.receiver import Receiver
from tests.integration.process import Forwarder, events
from tests.queue.building import account, drain, numbers
from tests.queue.sqlite.files import opened

FOLDER = Path(__file__).parent
# One dump for each version of the schema that was ever shipped, in text so that a change to it can be read.
DUMPS = sorted(FOLDER.glob("version*.sql"))


def test_each_version_has_its_dump() -> None:
    """Whoever raises the version of the schema leaves a queue of that version here."""
    assert [dump.name for dump in DUMPS] == [f"version{number}.sql" for number in range(1, SCHEMA_VERSION + 1)]


def lay_out(dump: Path, path: Path) -> None:
    """Make the queue's file of a dump, in the mode in which it is left by a stop."""
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(dump.read_text(encoding="utf-8"))
        assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    db.close()


@pytest.mark.slow
@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
async def test_a_queue_of_an_earlier_version(tmp_path: Path, dump: Path) -> None:
    """What was queued arrives in order, what was dead can be replayed, what was paused waits, and accounts go on."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    lay_out(dump, tmp_path / "f/queue/queue.db")
    async with Receiver(Address(host="127.0.0.1", port=0), public_keys=[forwarder.signer.public("pem")]) as receiver:
        main = {**forwarder.config["destinations"]["main"], "url": receiver.url}
        forwarder.config["destinations"] = {
            "main": {**main, "match": {"eventType": ["login"]}},
            "audit": {**main, "match": {"eventType": ["audit"]}},
        }
        async with forwarder:
            account = await forwarder.settled()
            assert [account[name] for name in ("accepted", "delivered", "dead", "dropped")] == [40, 39, 1, 0]
            assert numbers(receiver.events) == [*range(10, 20), *range(31, 40)]

            assert forwarder.command("dead", "replay", "--all").returncode == 0
            await receiver.wait_stored(20, 30)
            await forwarder.settled()
            assert (await forwarder.post(events(100, 5)))[0] == 202
            account = await forwarder.settled()
            assert [account[name] for name in ("accepted", "delivered", "dead", "dropped")] == [45, 45, 0, 0]
            assert numbers(receiver.events)[19:] == [30, *range(100, 105)]

            audit = await forwarder.account("audit")
            assert [audit[name] for name in ("state", "accepted", "queued", "dropped")] == ["paused", 6, 5, 1]
            assert forwarder.command("queue", "resume", "-d", "audit").returncode == 0
            await receiver.wait_stored(30, 30)
            assert numbers(receiver.events)[25:] == list(range(201, 206))
        assert not forwarder.logged("queue.set_aside")


async def test_the_first_queue_of_all(tmp_path: Path) -> None:
    """A queue whose checksums are of the data alone is delivered as it is; none of it is taken for damaged."""
    path = tmp_path / "queue" / "queue.db"
    lay_out(FOLDER / "first.sql", path)
    queue = await opened(path)
    assert [letter.id async for letter in queue.dead_letters(DeadFilter())] == [1, 2]
    assert await drain(queue) == list(range(7, 50))
    found = await account(queue)
    assert (found.accepted, found.delivered, found.dead, found.dropped) == (50, 48, 2, 0)
    assert await queue.replay(DeadFilter()) == 2
    assert await drain(queue) == [5, 6]
    await queue.close()


async def test_the_first_queue_of_all_damaged(tmp_path: Path) -> None:
    """Its segments are known by their own checksums, too, where the file has to be rebuilt."""
    path = tmp_path / "queue" / "queue.db"
    lay_out(FOLDER / "first.sql", path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE destination SET tail = 1 << 50")
    queue = await opened(path)
    delivered = await drain(queue)
    # Without its account, what was delivered of the first row comes again.
    assert delivered == list(range(50))
    assert (await account(queue)).dead == 2
    await queue.close()
