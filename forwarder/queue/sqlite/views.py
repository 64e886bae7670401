"""What the queue shows of itself: accounts, sizes, and its events without taking them."""

from __future__ import annotations

import os
from pathlib import Path

from forwarder.model import Counters, QueueStats
from forwarder.queue.sqlite.burying import last_number
from forwarder.queue.sqlite.store import Store


def lines_from(store: Store, name: str, position: int) -> tuple[list[bytes], int] | None:
    """Return queued events from a position on, those of one row, and the position behind them."""
    ledger = store.destinations[name].ledger
    rows = store.rows_from(ledger, max(position, ledger.head), 1)
    if not rows:
        return None
    [row] = rows
    start, end = row.id - ledger.base, row.until - ledger.base
    lines = store.data_of(row.id).split(b"\n")
    runs = ledger.settled.gaps(max(start, position, ledger.head), end)
    return [line for first, until in runs for line in lines[first - start : until - start]], end


def stats(store: Store, path: Path) -> QueueStats:
    """Return the accounts of all destinations, how much of the room is in use, and how much the disk has."""
    return QueueStats(
        backend="sqlite",
        # The log and the reserve have fixed parts of the bound, whatever is in the file. They count in proportion to
        # it, so that this goes from nearly nothing to the bound, which it reaches when there is no more room.
        bytes=min(store.live_bytes * store.max_bytes // store.capacity, store.max_bytes),
        max_bytes=store.max_bytes,
        path=str(path),
        disk_free_bytes=_free_bytes(path.parent),
        destinations={name: counters(store, name) for name in store.destinations},
        last_letter=last_number(store),
    )


def _free_bytes(folder: Path) -> int | None:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def counters(store: Store, name: str) -> Counters:
    """Return the account of a destination."""
    ledger = store.destinations[name].ledger
    oldest = store.rows_from(ledger, ledger.head, 1)
    return Counters(
        accepted=ledger.accepted,
        queued=ledger.queued,
        delivered=ledger.delivered,
        dead=ledger.dead,
        dropped=ledger.dropped,
        died=ledger.died,
        replayed=ledger.replayed,
        queued_bytes=ledger.bytes,
        dead_bytes=ledger.dead_bytes,
        oldest_accepted_at=oldest[0].accepted_at if oldest else None,
        paused=ledger.paused,
    )
