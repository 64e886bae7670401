"""Counting wrong tokens."""

from __future__ import annotations

from forwarder.admin.guesses import Guesses


def test_a_few_are_forgiven() -> None:
    """Ten wrong tokens at once are no offence, the eleventh is."""
    guesses = Guesses()
    assert [guesses.wrong("a", 0.0) for _ in range(12)] == [False] * 10 + [True] * 2


def test_one_more_every_few_seconds() -> None:
    """After a rest of six seconds one more is forgiven, after a minute all ten are; asking on does not prolong it."""
    guesses = Guesses()
    for _ in range(100):
        guesses.wrong("a", 0.0)
    assert [guesses.wrong("a", 6.0) for _ in range(2)] == [False, True]
    assert [guesses.wrong("a", 66.0) for _ in range(11)] == [False] * 10 + [True]


def test_peers_do_not_suffer_for_one_another() -> None:
    """Whatever one peer does, another has its own allowance."""
    guesses = Guesses()
    for _ in range(20):
        guesses.wrong("a", 0.0)
    assert not guesses.wrong("b", 0.0)


def test_many_peers_share_one_allowance() -> None:
    """Beyond those who fit into the table, all others together have one allowance, so that memory is bounded."""
    guesses = Guesses()
    wrong = [guesses.wrong(f"peer {number}", 0.0) for number in range(5000)]
    assert wrong.index(True) == 1024 + 10
    assert all(wrong[1034:])
    assert not guesses.wrong("later", 60.0)
