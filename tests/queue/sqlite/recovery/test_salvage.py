"""A damaged queue file: set aside, rebuilt from what can be read, every account still adding up."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.model import Batch, DeadFilter, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.recovery.salvage import salvage
from forwarder.queue.sqlite.schema import schema_sql
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from tests.queue.building import account, drain, next_batch
from tests.queue.sqlite.files import damage, opened
from tests.queue.sqlite.recovery.damaging import (
    EVENTS,
    PAGE,
    aside,
    check_account,
    check_nothing_is_lost,
    filled,
    overwrite,
    pages_of,
    twisted,
)

# The most events of one kind that an account may count.
MOST = (1 << 48) - 1
VERSION_2 = Path(__file__).parent.parent / "version2.sql"
# The columns of an account that are numbers.
COLUMNS = [
    *("accepted", "delivered", "dead", "dropped", "died", "replayed"),
    *("head", "tail", "bytes", "dead_bytes"),
]
# The segments at two positions of the only destination.
SOME = "id - (1 << 48) IN (500, 1500)"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    """Of a file that was cut off, the segments before the cut are kept, and the others counted."""
    path = tmp_path / "queue.db"
    await filled(path)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share) // PAGE * PAGE)
    await check_account(path, least=int(EVENTS * share * 0.9))


async def test_an_account_that_does_not_add_up(tmp_path: Path) -> None:
    """Numbers that cannot be true are damage: what is queued is what is there, and nothing else is made up."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE destination SET tail = tail + (1 << 40)")
    db.close()
    await check_nothing_is_lost(path)
    assert len(aside(path)) == 1


async def test_a_number_of_events_that_is_damaged(tmp_path: Path) -> None:
    """The lines of a segment tell how many events it has, where the number beside them is wrong."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(f"UPDATE segment SET events = events + (1 << 30) WHERE {SOME}").rowcount == 2
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    assert (await account(queue)).dropped == 0
    await queue.close()


@pytest.mark.parametrize(
    ("names", "name"), [([], "recovered-1"), (["main"], "main"), (["main", "other"], "recovered-1")]
)
async def test_a_name_that_is_lost(tmp_path: Path, names: list[str], name: str) -> None:
    """A queue whose destination cannot be read belongs to the one that is missing, if there is only one."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM destination")
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    async with await SqliteQueue.open(path, Logs(), max_bytes=64 << 20, names=names) as queue:
        await queue.configure({name: Share()})
        assert await drain(queue, destination=name) == list(range(EVENTS))
        assert (await account(queue, name)).dead == 10


async def test_the_accounts_outlive_their_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage to the accounts of a queue that runs costs nothing: they are in memory as well."""
    path = tmp_path / "queue.db"
    await filled(path)
    [root] = pages_of(path, "destination")
    queue = await opened(path)
    held = await next_batch(queue, "main", Limits(10, 1 << 20))
    assert held is not None
    before = await account(queue)
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(b"\xff" * PAGE)
    found = iter([damage(tmp_path)])

    def meets_damage(store: Store, destination: str, limits: Limits, at_most: int) -> list[Batch]:
        for error in found:
            raise error
        return take(store, destination, limits, at_most)

    monkeypatch.setattr("forwarder.queue.sqlite.take.take", meets_damage)
    assert await drain(queue) == list(range(10, EVENTS))
    await queue.settle(held)
    after = await account(queue)
    assert len(aside(path)) == 1
    assert (after.accepted, after.dead, after.dropped) == (before.accepted, before.dead, 0)
    assert after.delivered == EVENTS
    await queue.close()


@pytest.mark.parametrize("seed", range(12))
async def test_overwritten_pages(tmp_path: Path, seed: int) -> None:
    """Pages of nonsense anywhere cost at most what was on them; the queue starts and adds up."""
    path = tmp_path / "queue.db"
    await filled(path)
    chance = random.Random(seed)
    pages = path.stat().st_size // PAGE
    with path.open("r+b") as file:
        for page in chance.sample(range(pages), 3):
            file.seek(page * PAGE)
            file.write(chance.randbytes(PAGE))
    await check_account(path, least=0)


@pytest.mark.parametrize("seed", range(6))
async def test_flipped_bits(tmp_path: Path, seed: int) -> None:
    """No flipped bit is ever delivered: a segment that does not match its checksum goes to the dead letters."""
    path = tmp_path / "queue.db"
    await filled(path)
    chance = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(20):
            at = chance.randrange(2 * PAGE, path.stat().st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
    await check_account(path, least=EVENTS // 2)


async def test_what_the_checksum_does_not_cover(tmp_path: Path) -> None:
    """A damaged time of acceptance, or size, costs no event when the file is rebuilt."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
    db.close()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(f"UPDATE segment SET accepted_at = 'x', size = 'x' WHERE {SOME}").rowcount == 2
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    await check_nothing_is_lost(path)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("number", [-(1 << 63), -1, (1 << 62) + 1, (1 << 63) - 1])
async def test_numbers_beyond_all_bounds(tmp_path: Path, column: str, number: int) -> None:
    """An account with a number that cannot be is one that is lost: all that is there is delivered."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE destination SET {column} = ?", (number,))
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    await account(queue)
    await queue.close()


@pytest.mark.parametrize("chance", [bytes, random.Random(1).randbytes])
async def test_a_tree_that_is_lost(tmp_path: Path, chance: Callable[[int], bytes]) -> None:
    """Segments are found without the page that leads to them all."""
    path = tmp_path / "queue.db"
    await filled(path)
    [root] = pages_of(path, "segment")
    overwrite(path, root, chance(PAGE))
    await check_nothing_is_lost(path)


@pytest.mark.parametrize("lost", [("segment",), ("segment", "destination"), ("segment", "destination", "settled")])
async def test_what_was_delivered_is_not_found_again(tmp_path: Path, lost: tuple[str, ...]) -> None:
    """What lies in pages that were given back is settled, also where no account is left to say so."""
    path = tmp_path / "queue.db"
    await filled(path)
    queue = await opened(path)
    for _ in range(100):
        batch = await next_batch(queue, "main", Limits(10, 1 << 20))
        assert batch is not None
        await queue.settle(batch)
    await queue.close()
    for page in [page for table in lost for page in pages_of(path, table)]:
        overwrite(path, page, b"\xff" * PAGE)
    async with await SqliteQueue.open(path, Logs(), max_bytes=64 << 20, names=["main"]) as queue:
        await queue.configure({"main": Share()})
        assert await drain(queue) == list(range(1000, EVENTS))
        assert (await account(queue)).dropped == 0


@pytest.mark.parametrize("away", [1 << 40, 5])
async def test_a_row_in_another_place(tmp_path: Path, away: int) -> None:
    """A segment whose number is damaged costs no other, and its events are counted once."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(f"UPDATE segment SET id = id + ? WHERE {SOME}", (away,)).rowcount == 2
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    rest = await drain(queue)
    assert rest == [number for number in range(EVENTS) if number not in {*range(490, 500), *range(1490, 1500)}]
    found = await account(queue)
    assert found.accepted == EVENTS + 10
    assert found.dropped + found.dead == 30
    await queue.close()


@pytest.mark.parametrize("far", [1, 5, -1])
async def test_a_page_in_the_place_of_another(tmp_path: Path, far: int) -> None:
    """Rows that a tree leads to, and that nobody asked for, are damage: no event is delivered and dead, too."""
    path = tmp_path / "queue.db"
    await twisted(path, far)
    queue = await opened(path)
    delivered = await drain(queue)
    found = await account(queue)
    await queue.close()
    assert delivered == sorted(set(delivered))
    assert len(delivered) >= EVENTS - 100
    assert found.accepted == EVENTS + 10
    assert len(aside(path)) == 1


@pytest.mark.parametrize("destination", ["NULL", "-1", "0", "1 << 40", "x'00'"])
async def test_a_dead_letter_of_nobody(tmp_path: Path, destination: str) -> None:
    """Dead letters that name a destination there cannot be are lost, and counted; what is queued is kept."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
    db.close()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(f"UPDATE dead_segment SET destination = {destination}").rowcount == 1
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    found = await account(queue)
    assert (found.delivered, found.dead, found.dropped) == (EVENTS, 0, 10)
    assert list((await queue.stats()).destinations) == ["main"]
    await queue.close()


async def test_pages_lost_here_and_there(tmp_path: Path) -> None:
    """Pages of nonsense among the segments cost what was on them, and nothing of what is between them."""
    path = tmp_path / "queue.db"
    await filled(path)
    pages = path.stat().st_size // PAGE
    places = range(20, pages - 5, 40)
    for page in places:
        overwrite(path, page, b"\xff" * PAGE)
    queue = await opened(path)
    delivered = await drain(queue)
    # Each page is that of one segment's data, or of a few rows.
    assert len(delivered) >= EVENTS - 80 * len(places)
    assert delivered == sorted(set(delivered))
    found = await account(queue)
    assert found.accepted == EVENTS + 10
    assert found.dropped + found.dead + found.delivered == found.accepted
    await queue.close()


@pytest.mark.parametrize("run", ["-1, 20", "30, 20", "30, 1 << 60", "1e300, 20", "x'00', 20", "30, 'x'"])
async def test_settled_runs_that_cannot_be(tmp_path: Path, run: str) -> None:
    """What is said to be settled, and cannot be, is not believed: all that is there is delivered."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'settled'")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'settled'")
    db.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"INSERT INTO settled VALUES (1, {run})")
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    assert (await account(queue)).dropped == 0
    await queue.close()
    assert len(aside(path)) == 1


@pytest.mark.parametrize("column", ["events", "size", "accepted_at", "checksum", "data"])
@pytest.mark.parametrize("value", ["NULL", "x'ff00ff'", "CAST(x'ff00ff' AS TEXT)", "-7", "1e300"])
async def test_a_row_of_other_types(tmp_path: Path, column: str, value: str) -> None:
    """A row of which a value has another type harms no other row, and its events are accounted for."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        # What a flipped bit does, SQL may not.
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
        known = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'segment'").fetchone()
    db.close()
    assert "STRICT" not in known[0]
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(f"UPDATE segment SET {column} = {value} WHERE {SOME}").rowcount == 2
    db.close()
    queue = await opened(path)
    rest = await drain(queue)
    assert set(range(EVENTS)) - set(rest) <= {*range(490, 510), *range(1490, 1510)}
    assert rest == sorted(set(rest))
    found = await account(queue)
    assert found.delivered + found.dead + found.dropped == EVENTS + 10
    assert len([letter async for letter in queue.dead_letters(DeadFilter())]) == found.dead
    await queue.close()


async def test_dead_letters_are_kept(tmp_path: Path) -> None:
    """Dead letters are carried over as well."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("PRAGMA user_version = 1000000")
    newer.close()
    queue = await opened(path)
    assert len([letter async for letter in queue.dead_letters(DeadFilter())]) == 10
    assert (await account(queue)).dead == 10
    await queue.close()


@pytest.mark.parametrize(("died", "replayed"), [(0, 0), (12, 2), (10, 5)])
async def test_what_has_ever_died(tmp_path: Path, died: int, replayed: int) -> None:
    """How many died and were replayed is carried over; what is less than is dead cannot be true."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE destination SET died = ?, replayed = ?", (died, replayed))
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    found = await account(queue)
    assert (found.died, found.replayed) == (max(died, 10 + replayed), replayed)
    await queue.close()


@pytest.mark.parametrize("accepted", ["accepted", "delivered + dead + dropped + tail - head"])
@pytest.mark.parametrize("counts", [{"dead": MOST, "dropped": 11}, {"dead": MOST, "died": MOST * 2, "replayed": MOST}])
async def test_counts_that_are_too_many_together(tmp_path: Path, counts: dict[str, int], accepted: str) -> None:
    """Counts that can be believed one by one make no account that the next start refuses."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        for column, count in counts.items():
            db.execute(f"UPDATE destination SET {column} = ?", (count,))
        db.execute(f"UPDATE destination SET accepted = {accepted}")
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    assert (await account(queue)).dead == 10
    assert await drain(queue) == list(range(EVENTS))
    await queue.close()
    assert len(aside(path)) == 1


def test_a_file_of_a_version_before(tmp_path: Path) -> None:
    """A damaged file whose version did not count what has ever died keeps its account: what is dead has died."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_2.read_text(encoding="utf-8"))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as into:
        into.executescript(schema_sql())
        salvage(path, into)
        found = into.execute("SELECT accepted, delivered, dead, died, replayed FROM destination WHERE name = 'main'")
        assert found.fetchall() == [(40, 20, 1, 1, 0)]
