"""A destination's account."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.sqlite.ledger import Ledger


@given(st.permutations(range(12)), st.integers(1, 5))
def test_settled_in_any_order(order: list[int], size: int) -> None:
    """Settled in any order, the head is the first position that is not settled, and no event counts twice."""
    ledger, settled = Ledger(1, "main", tail=12 * size), set[int]()
    for part in order:
        first, until = part * size, part * size + size
        settled |= set(range(first, until))
        start, end = ledger.settle(first, until)
        assert start <= first
        assert until <= end
        assert ledger.queued == ledger.tail - len(settled)
        head = next((position for position in range(ledger.tail) if position not in settled), ledger.tail)
        assert ledger.head == head
    assert not ledger.settled
    assert ledger.queued == 0


def test_a_copy_is_its_own() -> None:
    """What a transaction does to its copy is not seen before the commit."""
    ledger = Ledger(1, "main", tail=10)
    copy = ledger.copy()
    copy.settle(4, 6)
    copy.delivered += 2
    assert (ledger.queued, ledger.delivered, len(ledger.settled)) == (10, 0, 0)


def test_what_has_died_is_at_least_what_is_dead() -> None:
    """What was replayed has died before, so an account that says otherwise is damaged."""
    assert Ledger(1, "main", accepted=5, dead=3, delivered=2, died=5, replayed=2).adds_up
    assert not Ledger(1, "main", accepted=5, dead=3, delivered=2, died=4, replayed=2).adds_up
    assert not Ledger(1, "main", accepted=5, dead=3, delivered=2, died=3, replayed=-1).adds_up


def test_destinations_have_rows_of_their_own() -> None:
    """The row numbers of two destinations cannot meet within two hundred billion events."""
    assert Ledger(2, "b").base - Ledger(1, "a").base > 2e11
