"""Accept what had died as invalid, now that it passes the checks: out of one account, into others, in one write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from forwarder.model import Burial, DeadLetter, Segment
from forwarder.queue.sqlite.admission import append
from forwarder.queue.sqlite.burying import bury, take_away
from forwarder.queue.sqlite.dead import row_of
from forwarder.queue.sqlite.store import Store


def readmit(
    store: Store, passed: Sequence[DeadLetter], segments: Sequence[Segment], again: Sequence[tuple[DeadLetter, Burial]]
) -> bool:
    """Write: see `Queue.readmit`. Raises QueueFullError or TooLargeError, and then nothing is changed."""
    numbers = {letter.id for letter in passed} | {letter.id for letter, _ in again}
    rows = {number: row.id for number in numbers if (row := row_of(store, number)) is not None}
    if len(rows) < len(numbers):
        return False
    # Whatever refuses does so before anything is written.
    append(store, segments)
    for number in set(rows.values()):
        if (row := row_of(store, number)) is not None:
            take_away(store, row, {letter for letter, of in rows.items() if of == number})
    for letter in passed:
        ledger = store.ledger(letter.destination)
        ledger.delivered += 1
        ledger.replayed += 1
    for (name, burial), group in groupby(again, lambda one: (one[0].destination, one[1])):
        letters = [letter for letter, _ in group]
        times = [letter.accepted_at for letter in letters]
        bury(store, name, [letter.event + b"\n" for letter in letters], times, burial)
        # They had died before, and do so for another reason now.
        store.ledger(name).died -= len(letters)
    store.measure()
    return True
