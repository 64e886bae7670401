"""The examination of the power campaign finds each promise that is broken, and nothing where none is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.database import open_database
from tests.campaigns.power.events import UNWANTED, event, identify, runs
from tests.campaigns.power.ledger import Ledger
from tests.campaigns.power.sabotage import weaken


@pytest.fixture
def ledger() -> Ledger:
    """A stream with 10 accepted events, the first 4 of them delivered, and arrays of 5, of which one is accepted."""
    found = Ledger()
    found.expect("s")
    found.expect("h", 5)
    found.accept(("s", 0, 7))
    found.accept(("s", 7, 3))
    found.accept(("h", 0, 5))
    found.receive(event("s", number) for number in range(4))
    return found


def test_everything_is_found(ledger: Ledger) -> None:
    """Delivered, queued and dead events make up what was accepted; more than that may be there."""
    assert ledger.accepted == 15
    assert ledger.look([("s", 4, 8), ("h", 0, 10)], [("s", 3, 1)], stored=22) == {}
    assert (ledger.lost, ledger.duplicates, ledger.troubles) == (0, 0, [])


def test_a_loss_is_found_once(ledger: Ledger) -> None:
    """An accepted event that is nowhere is lost, and is not counted again at the next look."""
    assert ledger.look([("s", 5, 4), ("h", 0, 5)], []) == {"s": 2}
    assert ledger.look([("s", 5, 3), ("h", 0, 5)], []) == {"s": 1}
    assert ledger.lost == 3


def test_a_half_request_is_found(ledger: Ledger) -> None:
    """A request that was not accepted is there as a whole or not at all."""
    ledger.look([("s", 4, 6), ("h", 0, 8)], [])
    assert ledger.troubles == ["h: 3 events of 5 are there of request 1"]


def test_a_wrong_count_is_found(ledger: Ledger) -> None:
    """The queue's own count of accepted events must be that of the events that are found."""
    ledger.look([("s", 4, 6), ("h", 0, 5)], [], stored=14)
    assert ledger.troubles == ["the queue counts 14 accepted events, 15 are found"]


def test_what_arrives_is_checked(ledger: Ledger) -> None:
    """A second arrival is a duplicate; an older event after a newer one, or one that nobody sent, is trouble."""
    ledger.receive([event("s", 3), event("s", 9), event("s", 8), event("s", 5).replace(b"power", b"tower")])
    assert ledger.duplicates == 1
    assert ledger.troubles[0] == "s: event 8 was delivered after 9"
    assert ledger.troubles[1].startswith("an event arrived that nobody sent")
    assert len(ledger.troubles) == 2


def test_an_account_is_checked(ledger: Ledger) -> None:
    """An account that does not add up is trouble, and so are events that the queue has dropped, once."""
    good = {"accepted": 9, "queued": 4, "delivered": 3, "dead": 2, "dropped": 0}
    ledger.check(good)
    assert ledger.troubles == []
    ledger.check({**good, "queued": 5})
    assert "does not add up: 9 accepted" in ledger.troubles.pop()
    for _ in range(2):
        ledger.check({**good, "queued": 3, "dropped": 1})
    assert ledger.troubles == ["1 events are counted as dropped"]


def test_an_accept_follows_the_one_before(ledger: Ledger) -> None:
    """A producer that reports an accept out of turn is a mistake of the campaign."""
    with pytest.raises(ValueError, match="promised 10"):
        ledger.accept(("s", 11, 1))


def test_events_are_told_by_their_bytes() -> None:
    """An event names its producer and its number; runs of two producers that take turns fold into one each."""
    turns = [event(name, number) for number in range(3) for name in ("a", "b")]
    assert runs([*turns, b"{}", event("a", 1), turns[0] + b" "]) == ([("a", 0, 3), ("b", 0, 3), ("a", 1, 1)], 2)
    assert identify(event("12b34s0", 123_456)) == ("12b34s0", 123_456)
    assert sum(UNWANTED.encode() in event("a", number) for number in range(1000)) == 2


@pytest.mark.parametrize(("level", "value"), [("OFF", 0), ("NORMAL", 1)])
async def test_sabotage_reaches_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, value: int
) -> None:
    """The queue's own connection gets the weaker level: a campaign without losses would mean something else."""
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    weaken(level)
    connection = await open_database(tmp_path / "queue.db", Logs(), wal_bytes=2**20)
    try:
        assert await connection.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == value
    finally:
        await connection.close()
