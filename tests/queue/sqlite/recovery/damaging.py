"""Queue files that are damaged, and what must hold of whatever opens them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from forwarder.model import Burial, Limits
from forwarder.queue.sqlite.files import QueueFile
from tests.queue.building import account, drain, next_batch, segment
from tests.queue.sqlite.files import found_in, opened, restore

PAGE = 16 * 1024
EVENTS = 2000


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


def pages_of(path: Path, table: str) -> list[int]:
    """Return the root page of a table, as a list."""
    with closing(sqlite3.connect(path)) as db, db:
        found = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    db.close()
    return [page for (page,) in found]


def overwrite(path: Path, page: int, data: bytes) -> bytes:
    """Write over a page, the first of which is 1; return what was there."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        found = file.read(PAGE)
        file.seek((page - 1) * PAGE)
        file.write(data)
    return found


def page_of(path: Path, page: int) -> bytes:
    return path.read_bytes()[(page - 1) * PAGE : page * PAGE]


def spoil(path: Path) -> None:
    """Damage the second half of a file while it is open."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // PAGE * PAGE)
        file.write(b"\xff" * PAGE * 4)
        file.truncate(size * 3 // 4 // PAGE * PAGE)


async def twisted(path: Path, far: int) -> None:
    """Write a queue in which a page of rows stands in the place of another one."""
    await filled(path)
    leaves = leaves_of_segments(path)
    overwrite(path, leaves[10], page_of(path, leaves[10 + far]))


def leaves_of_segments(path: Path) -> list[int]:
    """Return the pages with rows of segments, of which a row keeps the beginning of its data there."""
    data = path.read_bytes()
    pages = {at // PAGE + 1: data[at : at + PAGE] for at in range(2 * PAGE, len(data), PAGE)}
    return [
        number
        for number, page in pages.items()
        if page[0] == 0x0D and int.from_bytes(page[3:5], "big") > 1 and b'"eventSourceId"' in page
    ]
