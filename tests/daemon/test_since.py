"""Since when a destination is as it is."""

from __future__ import annotations

from forwarder.daemon.since import Since
from forwarder.model import State


class Clock:
    """A wall clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_one_however_its_states_change() -> None:
    """From the first failure to the next success the moment stays the same, also while it is being tried."""
    clock = Clock()
    since = Since(clock)
    assert since.look("main", State.IDLE, 0) == 1000.0
    clock.now = 2000.0
    assert since.look("main", State.BACKING_OFF, 1) == 2000.0
    clock.now = 3000.0
    assert since.look("main", State.DELIVERING, 1) == 2000.0
    assert since.look("main", State.HOLDING, 2) == 2000.0
    assert since.look("main", State.DELIVERING, 0) == 3000.0
    clock.now = 4000.0
    assert since.look("main", State.IDLE, 0) == 3000.0


def test_an_outage_that_began_before_the_look() -> None:
    """It is seen up to a round later, and told to have begun when the log says that it did."""
    clock = Clock()
    since = Since(clock)
    since.look("main", State.DELIVERING, 0)
    clock.now = 2000.0
    assert since.look("main", State.BACKING_OFF, 1, failing=1.5) == 1998.5
    clock.now = 2010.0
    assert since.look("main", State.BACKING_OFF, 2, failing=11.5) == 1998.5


def test_a_pause() -> None:
    """A pause that is seen to begin has its moment; one from before the start does not, until it ends."""
    clock = Clock()
    since = Since(clock)
    assert since.look("main", State.PAUSED, 0) is None
    assert since.look("main", State.PAUSED, 0) is None
    assert since.look("main", State.IDLE, 0) == 1000.0
    clock.now = 2000.0
    assert since.look("main", State.PAUSED, 3) == 2000.0


def test_destinations_do_not_share_it() -> None:
    """Each destination has its own moment, and one that was forgotten begins anew."""
    clock = Clock()
    since = Since(clock)
    since.look("main", State.IDLE, 0)
    since.look("audit", State.IDLE, 0)
    clock.now = 2000.0
    since.keep({"audit"})
    assert since.look("main", State.IDLE, 0) == 2000.0
    assert since.look("audit", State.IDLE, 0) == 1000.0
