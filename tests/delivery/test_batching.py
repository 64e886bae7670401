"""When to send, and what of a batch is no event."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.batching import broken_apart, seconds_until_due
from forwarder.model import Batch, Limits, Slice
from forwarder.queue.base import Pending


class TestDue:
    LIMITS = Limits(10, 1000)

    @pytest.mark.parametrize(
        ("pending", "due"),
        [
            (Pending(0, 0, -math.inf), None),
            (Pending(1, 100, 50.0), 1.5),
            (Pending(9, 999, 50.0), 1.5),
            (Pending(10, 100, 50.0), 0.0),
            (Pending(1, 1000, 50.0), 0.0),
            (Pending(1, 100, 48.0), 0.0),
            (Pending(1, 100, -math.inf), 0.0),
        ],
        ids=["nothing", "lonely", "almost full", "full of events", "full of bytes", "old", "from before the start"],
    )
    def test_full_or_old(self, pending: Pending, due: float | None) -> None:
        """A batch is due when it is full or when its oldest event has waited `max_age`."""
        assert seconds_until_due(pending, self.LIMITS, max_age=2.0, now=50.5) == due

    @given(st.integers(0, 20), st.integers(0, 2000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
    def test_is_never_negative(self, count: int, size: int, since: float, max_age: float, now: float) -> None:
        """The wait is never negative, and longer than `max_age` only where the clock lies behind."""
        due = seconds_until_due(Pending(count, size, since), self.LIMITS, max_age, now)
        assert (due is None) == (count == 0)
        assert due is None or due >= 0
        # The sum of a large time and a short age is rounded to what a float of that size can tell apart.
        assert due is None or now < since or due <= max_age + math.ulp(since + max_age)


class TestBrokenApart:
    BROKEN = (b'{"a":{}', b"[1]", b'{"a":1}{"b":2}', b"", b'{"a":"\xff"}')

    @given(st.lists(st.integers(-1, len(BROKEN) - 1), min_size=1, max_size=12))
    def test_what_is_no_object_is_told_from_the_rest(self, kinds: list[int]) -> None:
        """Lines that are no JSON object come apart from the others, and every line keeps its place."""
        found = [b'{"n":%d}' % n if kind < 0 else self.BROKEN[kind] for n, kind in enumerate(kinds)]
        batch = Batch("main", (Slice(5, len(found), 1.0),), b"".join(line + b"\n" for line in found))
        broken, whole = broken_apart(batch)
        seen: dict[int, tuple[bytes, bool]] = {}
        for parts, is_whole in ((broken, False), (whole, True)):
            for part in parts:
                texts = part.data.split(b"\n")[:-1]
                assert len(texts) == part.events
                seen |= {part.position + n: (text, is_whole) for n, text in enumerate(texts)}
        assert seen == {5 + n: (text, kinds[n] < 0) for n, text in enumerate(found)}
