"""How far two clocks differ, by the dates of answers."""

from __future__ import annotations

from forwarder.destination.http_put.peer_clock import PeerClock

NOON = 1_700_000_000.0


def test_the_difference() -> None:
    """Ours is ahead by what it shows more than the date; before the first answer nothing is known."""
    clock = PeerClock()
    assert clock.ahead(NOON, 1.0) is None
    clock.saw(NOON - 90, NOON, 1.0)
    assert clock.ahead(NOON + 500, 501.0) == 90.0


def test_a_clock_that_is_set_shows_at_once() -> None:
    """Without another answer it shows that our clock was put right, or wrong."""
    clock = PeerClock()
    clock.saw(NOON - 90, NOON, 1.0)
    assert clock.ahead(NOON - 90 + 10, 11.0) == 0.0
    clock.saw(NOON, NOON, 101.0)
    assert clock.ahead(NOON + 3600, 101.0) == 3600.0


def test_one_server_of_several_that_agrees_with_us_is_right() -> None:
    """Of what several servers say at nearly the same time the smallest difference counts, and later the latest."""
    clock = PeerClock()
    for steady, theirs in ((1.0, 500.0), (1.5, 0.5), (2.0, 500.0), (2.5, -400.0)):
        clock.saw(NOON + steady - theirs, NOON + steady, steady)
        assert clock.ahead(NOON + steady, steady) == (500.0 if steady == 1.0 else 0.5)
    clock.saw(NOON + 5 - 500, NOON + 5, 5.0)
    assert clock.ahead(NOON + 5, 5.0) == 500.0
