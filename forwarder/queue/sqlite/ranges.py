"""Sets of positions, kept as few disjoint runs: what is settled out of order, what is held."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of integers as sorted, disjoint, non-adjacent runs `first <= p < until`."""

    __slots__ = ("_firsts", "_untils")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._untils: list[int] = []
        for first, until in runs:
            self.add(first, until)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._firsts, self._untils, strict=True)))

    def __len__(self) -> int:
        """Return how many integers are in the set."""
        return sum(self._untils) - sum(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def copy(self) -> Ranges:
        # Not by adding each run anew: this is done for each commit.
        copy = Ranges()
        copy._firsts, copy._untils = [*self._firsts], [*self._untils]
        return copy

    def add(self, first: int, until: int) -> tuple[int, int]:
        """Add a run, which is not empty; return the run that it became a part of."""
        low = bisect_left(self._untils, first)
        high = bisect_right(self._firsts, until)
        if low < high:
            first = min(first, self._firsts[low])
            until = max(until, self._untils[high - 1])
        self._firsts[low:high] = [first]
        self._untils[low:high] = [until]
        return first, until

    def remove(self, first: int, until: int) -> None:
        """Remove a run, or what of it is there."""
        low = bisect_right(self._untils, first)
        high = bisect_left(self._firsts, until)
        if low >= high:
            return
        kept = [
            (start, end) for start, end in ((self._firsts[low], first), (until, self._untils[high - 1])) if start < end
        ]
        self._firsts[low:high] = [start for start, _ in kept]
        self._untils[low:high] = [end for _, end in kept]

    def gaps(self, first: int, until: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of `first <= p < until` that are not in the set."""
        at = bisect_right(self._untils, first)
        while first < until and at < len(self._firsts) and self._firsts[at] < until:
            if first < self._firsts[at]:
                yield first, self._firsts[at]
            first = self._untils[at]
            at += 1
        if first < until:
            yield first, until
