"""Sets of positions, against the sets of Python."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.sqlite.ranges import Ranges

runs = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda run: (run[0], run[0] + run[1]))
steps = st.lists(st.tuples(st.booleans(), runs), max_size=40)


def apply(changes: list[tuple[bool, tuple[int, int]]]) -> tuple[Ranges, set[int]]:
    """Add and remove the same runs on both."""
    found, model = Ranges(), set[int]()
    for adds, (first, until) in changes:
        if adds:
            whole = found.add(first, until)
            model |= set(range(first, until))
            assert set(range(*whole)) <= model
            assert whole in set(found)
        else:
            found.remove(first, until)
            model -= set(range(first, until))
    return found, model


def members(found: Ranges) -> set[int]:
    return {position for first, until in found for position in range(first, until)}


@given(steps)
def test_is_a_set(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    """Adding and removing runs gives the same numbers as a set has."""
    found, model = apply(changes)
    assert members(found) == model
    assert len(found) == len(model)
    assert bool(found) == bool(model)


@given(steps)
def test_runs_are_few(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    """The runs are sorted, not empty, and neither overlap nor touch."""
    found, _ = apply(changes)
    kept = list(found)
    assert all(first < until for first, until in kept)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(kept))


@given(steps, st.integers(0, 80), st.integers(0, 80))
def test_gaps_are_what_is_not_there(changes: list[tuple[bool, tuple[int, int]]], first: int, until: int) -> None:
    """The gaps of a stretch are exactly its numbers that are not in the set."""
    found, model = apply(changes)
    gaps = [position for start, end in found.gaps(first, until) for position in range(start, end)]
    assert gaps == [position for position in range(first, until) if position not in model]


@given(steps, runs)
def test_a_copy_is_its_own(changes: list[tuple[bool, tuple[int, int]]], run: tuple[int, int]) -> None:
    """A change of a copy does not reach the set that it was made of."""
    found, model = apply(changes)
    copy = found.copy()
    copy.add(*run)
    copy.remove(run[0] + 1, run[1] + 5)
    assert members(found) == model
