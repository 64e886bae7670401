"""How long to wait before the next attempt."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.backoff import Backoff

# What the configuration allows: a millisecond to a hundred years.
seconds = st.floats(0.001, 3.2e9)
backoffs = st.builds(Backoff, initial=seconds, max=seconds, multiplier=st.floats(1, 100))
# Ten thousand are days; a number that never came about must do no harm, either.
failures = st.integers(1, 10_000) | st.integers(10_000, 10**18)
chances = st.floats(0, 1)


class TestCeiling:
    def test_formula(self) -> None:
        """The ceiling is initial x multiplier^(n - 1), cut at the maximum."""
        backoff = Backoff(1, 300, 2)
        found = [backoff.ceiling(n) for n in range(1, 12)]
        assert found == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])

    @given(backoffs, failures)
    def test_grows_up_to_the_maximum(self, backoff: Backoff, n: int) -> None:
        """More failures never shorten the ceiling, and none lifts it above the maximum."""
        assert 0 < backoff.ceiling(n) <= backoff.ceiling(n + 1) <= backoff.max

    def test_many_failures(self) -> None:
        """After ten thousand failures the ceiling is the maximum, and nothing overflows."""
        assert Backoff(0.001, 3.2e9, 100).ceiling(10_000) == 3.2e9
        assert Backoff(1, 300, 1.0001).ceiling(10_000) == pytest.approx(math.exp(9999 * math.log(1.0001)))

    @given(seconds, failures)
    def test_multiplier_of_one(self, initial: float, n: int) -> None:
        """With a multiplier of one the ceiling stays where it began."""
        assert Backoff(initial, 1e10, 1).ceiling(n) == pytest.approx(initial)

    @given(seconds, st.floats(1, 100), failures)
    def test_initial_is_the_maximum(self, initial: float, multiplier: float, n: int) -> None:
        """Where the first wait is the longest, all are."""
        assert Backoff(initial, initial, multiplier).ceiling(n) == initial

    @given(seconds, failures)
    def test_initial_above_the_maximum(self, most: float, n: int) -> None:
        """The maximum holds for the first wait, too."""
        assert Backoff(most * 2, most, 2).ceiling(n) == most


class TestDelay:
    @given(backoffs, failures, st.none() | st.floats(0, 1e9), chances)
    def test_is_between_nothing_and_the_maximum(
        self, backoff: Backoff, n: int, retry_after: float | None, random: float
    ) -> None:
        """No delay is negative or longer than the maximum, whatever the destination asks for."""
        assert 0 <= backoff.delay(n, retry_after=retry_after, random=random) <= backoff.max

    @given(backoffs, failures, chances)
    def test_full_jitter(self, backoff: Backoff, n: int, random: float) -> None:
        """Chance spreads the delay evenly from nothing to the ceiling."""
        assert backoff.delay(n, retry_after=None, random=random) == backoff.ceiling(n) * random

    @given(backoffs, failures, st.floats(0, 1e9), chances)
    def test_retry_after_is_the_least(self, backoff: Backoff, n: int, retry_after: float, random: float) -> None:
        """A Retry-After lengthens the delay, never shortens it, and is capped at the maximum."""
        found = backoff.delay(n, retry_after=retry_after, random=random)
        assert found >= min(retry_after, backoff.max)
        assert found >= backoff.delay(n, retry_after=None, random=random)
