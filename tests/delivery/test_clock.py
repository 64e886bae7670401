"""How old events are, whatever the wall clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.clock import Clock

HOUR = 3600.0
START = 1_700_000_000.0
AGE = 10 * HOUR

# How long a wall clock stays as it is, and by how much it then jumps.
histories = st.lists(st.tuples(st.floats(1, 20 * HOUR), st.floats(-1e8, 1e8)), max_size=20)


def at(*leads: tuple[float, float]) -> Clock:
    """Return what is known of a wall clock that was seen at these hours to be so many hours ahead of what it was."""
    clock = Clock()
    for hour, lead in leads:
        clock.observe(START + (hour + lead) * HOUR, hour * HOUR)
    return clock


def hours(clock: Clock, hour: float) -> float:
    """Return below which stamp events are given up at an hour, in hours from the start."""
    return (clock.accepted_before(AGE, hour * HOUR) - START) / HOUR


class TestClock:
    def test_a_clock_that_goes(self) -> None:
        """Without a jump the age is the time that has passed since the stamp."""
        clock = at((0, 0), (1, 0), (20, 0))
        assert hours(clock, 20) == 10
        assert hours(clock, 21) == 11

    def test_set_forward(self) -> None:
        """A clock that is set forward makes nothing old, and the age is right again once all stamps are new."""
        clock = at((0, 0), (1, 5))
        assert hours(clock, 11) == 1
        assert hours(clock, 11.01) == pytest.approx(6.01)

    def test_set_back(self) -> None:
        """A clock that is set back makes nothing old."""
        assert hours(at((0, 0), (1, -5)), 20) == 5

    def test_wrong_for_a_while(self) -> None:
        """What was stamped by a clock that was behind for a while is no older once it is right again."""
        clock = at((0, 0), (1, -5), (2, 0))
        assert hours(clock, 3) == -12
        # All that was stamped in that hour is old enough by now.
        assert hours(clock, 12.01) == pytest.approx(2.01)

    def test_small_differences_are_no_jumps(self) -> None:
        """A clock that is steered gently costs no memory."""
        clock = Clock()
        for second in range(100_000):
            clock.observe(START + second + second % 7 / 10, second)
        assert len(clock._leads) == 1

    def test_many_jumps(self) -> None:
        """However often a clock jumps, little of it is kept."""
        clock = Clock()
        for second in range(100_000):
            clock.observe(START + second + second % 7 * 1000, second)
        assert len(clock._leads) <= 1000

    @given(histories, st.data())
    def test_nothing_is_given_up_before_its_time(self, history: list[tuple[float, float]], data: st.DataObject) -> None:
        """Whenever a clock jumped, as long as each jump was seen, no event expires that is younger than allowed."""
        clock, now, lead = Clock(), 0.0, START
        stamps: list[tuple[float, float]] = []
        clock.observe(lead, now)
        for seconds, jump in history:
            stamps.append((now, now + lead))
            now += seconds
            stamps.append((now, now + lead))
            lead += jump
            clock.observe(now + lead, now)
        before = clock.accepted_before(AGE, now)
        for accepted, stamp in stamps:
            # But for rounding.
            assert now - accepted >= AGE - 0.001 or stamp >= before - 0.001
