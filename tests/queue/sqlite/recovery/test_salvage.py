"""A damaged queue file: set aside, rebuilt from what can be read, every account still adding up."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from forwarder.errors import QueueLockedError, StorageError
from forwarder.model import Batch, Burial, DeadFilter, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.files import QueueFile
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.recovery.salvage import Salvage, salvage
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from tests.queue.building import account, drain, next_batch, numbers, segment
from tests.queue.sqlite.files import damage, found_in, opened, restore

PAGE = 16 * 1024
EVENTS = 2000
# The segments at two positions of the only destination.
SOME = "id - (1 << 48) IN (500, 1500)"

# The file of `filled`, once it was written.
_FILLED: list[bytes] = []


async def filled(path: Path) -> None:
    """Write a queue with EVENTS events in 200 segments of more than a page each, and ten dead letters."""
    if not _FILLED:
        await write(path)
        _FILLED.append(found_in(path))
    restore(path, _FILLED[0])


async def write(path: Path) -> None:
    queue = await opened(path)
    await queue.append([segment(0, 10)])
    batch = await next_batch(queue, "main", Limits(10, 1 << 20))
    assert batch is not None
    await queue.settle(batch, Burial("rejected", 400, "no"))
    for first in range(0, EVENTS, 10):
        await queue.append([segment(first, 10, filler=2000)])
    await queue.close()


def aside(path: Path) -> list[Path]:
    """Return the files that were set aside, but for what stands beside them."""
    found = [found for found in path.parent.iterdir() if ".damaged-" in found.name]
    return [file for file in found if not file.name.endswith((QueueFile.LOG, QueueFile.INDEX, QueueFile.FIRST_PAGE))]


async def check_account(path: Path, *, least: int) -> None:
    """Open a damaged queue: it starts, delivers what it kept in order, and accounts for the rest."""
    queue = await opened(path)
    delivered = await drain(queue)
    assert delivered == sorted(set(delivered))
    assert len(delivered) >= least
    found = await account(queue)
    assert found.queued == 0
    await queue.append([segment(9000, 5)])
    assert await drain(queue) == list(range(9000, 9005))
    await queue.close()


async def check_nothing_is_lost(path: Path) -> None:
    """Open a damaged queue: it delivers all that was queued, and its account is what it was."""
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    found = await account(queue)
    assert (found.delivered, found.dead, found.dropped) == (EVENTS, 10, 0)
    await queue.close()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Another file of that name is kept under a name that says so, and a new queue is begun."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"this is somebody's letter\n" * 1000)
    await check_account(path, least=0)
    [kept] = aside(path)
    assert kept.read_bytes().startswith(b"this is somebody's letter")


async def test_a_database_of_another_program(tmp_path: Path) -> None:
    """A SQLite database that is no queue is not written to."""
    path = tmp_path / "queue.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name)")
    other.close()
    await check_account(path, least=0)
    assert len(aside(path)) == 1


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
    with sqlite3.connect(path) as db:
        db.execute("UPDATE destination SET tail = tail + (1 << 40)")
    db.close()
    await check_nothing_is_lost(path)
    assert len(aside(path)) == 1


async def test_a_number_of_events_that_is_damaged(tmp_path: Path) -> None:
    """The lines of a segment tell how many events it has, where the number beside them is wrong."""
    path = tmp_path / "queue.db"
    await filled(path)
    with sqlite3.connect(path) as db:
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
    with sqlite3.connect(path) as db:
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

    monkeypatch.setattr("forwarder.queue.sqlite.queue.take", meets_damage)
    assert await drain(queue) == list(range(10, EVENTS))
    await queue.settle(held)
    after = await account(queue)
    assert len(aside(path)) == 1
    assert (after.accepted, after.dead, after.dropped) == (before.accepted, before.dead, 0)
    assert after.delivered == EVENTS
    await queue.close()


def pages_of(path: Path, table: str) -> list[int]:
    """Return the root page of a table, as a list."""
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    db.close()
    return [page for (page,) in found]


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


def overwrite(path: Path, page: int, data: bytes) -> bytes:
    """Write over a page, the first of which is 1; return what was there."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        found = file.read(PAGE)
        file.seek((page - 1) * PAGE)
        file.write(data)
    return found


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
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'dead_segment'", pages_of(path, other))
    db.close()
    await check_nothing_is_lost(path)
    assert len(aside(path)) == 1


async def test_what_the_checksum_does_not_cover(tmp_path: Path) -> None:
    """A damaged time of acceptance, or size, costs no event when the file is rebuilt."""
    path = tmp_path / "queue.db"
    await filled(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
    db.close()
    with sqlite3.connect(path) as db:
        assert db.execute(f"UPDATE segment SET accepted_at = 'x', size = 'x' WHERE {SOME}").rowcount == 2
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    await check_nothing_is_lost(path)


@pytest.mark.parametrize("column", ["delivered", "dead", "dropped", "accepted", "head", "tail", "bytes", "dead_bytes"])
@pytest.mark.parametrize("number", [-(1 << 63), -1, (1 << 62) + 1, (1 << 63) - 1])
async def test_numbers_beyond_all_bounds(tmp_path: Path, column: str, number: int) -> None:
    """An account with a number that cannot be is one that is lost: all that is there is delivered."""
    path = tmp_path / "queue.db"
    await filled(path)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE destination SET {column} = ?", (number,))
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    await account(queue)
    await queue.close()


async def test_another_database_like_ours(tmp_path: Path) -> None:
    """Somebody else's database is set aside as it is, though its pages and tables are arranged as ours."""
    path = tmp_path / "queue.db"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for number in range(12):
            db.execute(f"CREATE TABLE recipes{number} (name)")
    db.close()
    before = path.read_bytes()
    await check_account(path, least=0)
    [kept] = aside(path)
    assert kept.read_bytes() == before


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
    with sqlite3.connect(path) as db:
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
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
    db.close()
    with sqlite3.connect(path) as db:
        assert db.execute(f"UPDATE dead_segment SET destination = {destination}").rowcount == 1
        db.execute("PRAGMA user_version = 1000000")
    db.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(EVENTS))
    found = await account(queue)
    assert (found.delivered, found.dead, found.dropped) == (EVENTS, 0, 10)
    assert list((await queue.stats()).destinations) == ["main"]
    await queue.close()


async def twisted(path: Path, far: int) -> None:
    """Write a queue in which a page of rows stands in the place of another one."""
    await filled(path)
    leaves = leaves_of_segments(path)
    overwrite(path, leaves[10], page_of(path, leaves[10 + far]))


async def test_a_write_that_meets_damage(tmp_path: Path) -> None:
    """Damage that a write finds, and no read has found before, is mended, too; the write is done on the new file."""
    path = tmp_path / "queue.db"
    await twisted(path, 1)
    queue = await opened(path)
    assert await queue.purge("main") >= EVENTS - 100
    # What was on the page that is gone is missed when it should be delivered.
    assert await drain(queue) == []
    found = await account(queue)
    await queue.close()
    assert (found.queued, found.dropped, found.accepted) == (0, EVENTS, EVENTS + 10)
    assert len(aside(path)) == 1


def page_of(path: Path, page: int) -> bytes:
    return path.read_bytes()[(page - 1) * PAGE : page * PAGE]


def leaves_of_segments(path: Path) -> list[int]:
    """Return the pages with rows of segments, of which a row keeps the beginning of its data there."""
    data = path.read_bytes()
    pages = {at // PAGE + 1: data[at : at + PAGE] for at in range(2 * PAGE, len(data), PAGE)}
    return [
        number
        for number, page in pages.items()
        if page[0] == 0x0D and int.from_bytes(page[3:5], "big") > 1 and b'"eventSourceId"' in page
    ]


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
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'settled'")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'settled'")
    db.close()
    with sqlite3.connect(path) as db:
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
    with sqlite3.connect(path) as db:
        # What a flipped bit does, SQL may not.
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')")
        known = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'segment'").fetchone()
    db.close()
    assert "STRICT" not in known[0]
    with sqlite3.connect(path) as db:
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


async def test_damage_found_while_it_runs(tmp_path: Path) -> None:
    """Damage that shows only when a row is read is mended without a restart; what was taken stays taken."""
    path = tmp_path / "queue.db"
    await filled(path)
    size = path.stat().st_size
    queue = await opened(path)
    held = await next_batch(queue, "main", Limits(10, 1 << 20))
    assert held is not None
    with path.open("r+b") as file:
        file.seek(size // 2 // PAGE * PAGE)
        file.write(b"\xff" * PAGE * 4)
        file.truncate(size * 3 // 4 // PAGE * PAGE)
    rest = await drain(queue)
    assert rest == sorted(set(rest))
    assert 0 not in rest
    await queue.settle(held)
    found = await account(queue)
    assert found.queued == 0
    assert found.delivered == len(rest) + 10
    assert found.dropped + found.dead + found.delivered == found.accepted
    await queue.close()


async def test_dead_letters_are_kept(tmp_path: Path) -> None:
    """Dead letters are carried over as well."""
    path = tmp_path / "queue.db"
    await filled(path)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 1000000")
    newer.close()
    queue = await opened(path)
    assert len([letter async for letter in queue.dead_letters(DeadFilter())]) == 10
    assert (await account(queue)).dead == 10
    await queue.close()


async def test_a_log_left_over(tmp_path: Path) -> None:
    """A log that is none is nothing to the file beside it."""
    path = tmp_path / "queue.db"
    await filled(path)
    path.with_name("queue.db-wal").write_bytes(b"left over" * 5000)
    await check_account(path, least=EVENTS)


async def test_the_lock_outlives_the_damage(tmp_path: Path) -> None:
    """While a damaged file is being replaced, no second instance gets in."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"nonsense" * 10000)
    queue = await opened(path)
    with pytest.raises(QueueLockedError):
        await SqliteQueue.open(path, Logs(), max_bytes=64 << 20)
    await queue.close()


def spoil(path: Path) -> None:
    """Damage the second half of a file while it is open."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // PAGE * PAGE)
        file.write(b"\xff" * PAGE * 4)
        file.truncate(size * 3 // 4 // PAGE * PAGE)


async def test_what_was_committed_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append and a settlement beside the read that finds the damage count once, and their events come once."""
    path = tmp_path / "queue.db"
    await filled(path)
    queue = await opened(path)
    first, second = [await next_batch(queue, "main", Limits(10, 1 << 20)) for _ in range(2)]
    assert first is not None
    assert second is not None
    before = await account(queue)
    calls = 0

    def meets_damage(store: Store, destination: str, limits: Limits, at_most: int) -> list[Batch]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise damage(tmp_path)
        return take(store, destination, limits, at_most)

    monkeypatch.setattr("forwarder.queue.sqlite.queue.take", meets_damage)
    _, _, third, fourth = await asyncio.gather(
        queue.append([segment(9000)]),
        queue.settle(first),
        next_batch(queue, "main", Limits(10, 1 << 20)),
        next_batch(queue, "main", Limits(10, 1 << 20)),
    )
    assert len(aside(path)) == 1
    after = await account(queue)
    assert after.accepted == before.accepted + 1
    assert after.delivered == before.delivered + 10
    assert third is not None
    assert fourth is not None
    assert numbers(third.data) + numbers(fourth.data) == list(range(20, 40))
    queue.release(second)
    for batch in (third, fourth):
        await queue.settle(batch)
    assert await drain(queue) == [*range(10, 20), *range(40, EVENTS), 9000]
    await queue.close()


async def test_a_rebuild_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a new file cannot be made, the damaged one stays where it is; once it can, everything readable is there."""
    path = tmp_path / "queue.db"
    await filled(path)
    queue = await opened(path)

    def full(*_: object, **__: object) -> Salvage:
        raise sqlite3.OperationalError("no room for a new file")

    monkeypatch.setattr("forwarder.queue.sqlite.recovery.rebuilding.salvage", full)
    spoil(path)
    with pytest.raises(StorageError):
        await drain(queue)
    assert queue.trouble() is not None
    assert path.exists()
    assert not aside(path)
    monkeypatch.setattr("forwarder.queue.sqlite.recovery.rebuilding.salvage", salvage)
    # Taken but not handed over when the damage was found, nothing is held.
    rest = await drain(queue)
    assert len(rest) > EVENTS // 4
    assert (await account(queue)).queued == 0
    await queue.append([segment(9000)])
    assert await drain(queue) == [9000]
    assert queue.trouble() is None
    await queue.close()


@pytest.mark.parametrize("gone", [(), ("queue.db-wal",), ("queue.db-wal", "queue.db")])
async def test_a_crash_while_the_new_file_takes_its_place(tmp_path: Path, gone: tuple[str, ...]) -> None:
    """Wherever a crash interrupts the exchange of files, the next start finishes it with the complete new file."""
    path = tmp_path / "queue.db"
    await filled(path)
    path.rename(tmp_path / "queue.db.rebuilt")
    for name in {"queue.db", "queue.db-wal"} - set(gone):
        (tmp_path / name).write_bytes(b"damaged" * 5000)
    await check_account(path, least=EVENTS)
    assert not (tmp_path / "queue.db.rebuilt").exists()


async def test_a_crash_while_the_new_file_is_made(tmp_path: Path) -> None:
    """A new file that is not complete is thrown away, and made again from the damaged one."""
    path = tmp_path / "queue.db"
    await filled(path)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 1000000")
    newer.close()
    (tmp_path / "queue.db.rebuilding").write_bytes(b"half" * 10_000)
    await check_account(path, least=EVENTS)
    assert not (tmp_path / "queue.db.rebuilding").exists()
