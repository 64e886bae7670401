"""When to send, and in which shape."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.batching import events_within, payload, seconds_until_due
from forwarder.model import Limits
from forwarder.queue.base import Pending

events = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3), min_size=1)


def lines(found: list[dict[str, object]]) -> bytes:
    """Return events as a segment has them."""
    return b"".join(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for event in found)


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
        assert due is None or now < since or due <= max_age * (1 + 1e-9)


class TestPayload:
    @given(events)
    def test_is_the_array_of_exactly_the_events(self, found: list[dict[str, object]]) -> None:
        """The payload is a JSON array of the events, each as it was written."""
        data = lines(found)
        assert json.loads(payload(data)) == found
        assert payload(data) == b"[" + b",".join(data[:-1].split(b"\n")) + b"]"

    @given(events)
    def test_single_as_object(self, found: list[dict[str, object]]) -> None:
        """With `as_object` a lone event is sent without the array around it, and several are not."""
        data = payload(lines(found), as_object=True)
        assert json.loads(data) == (found[0] if len(found) == 1 else found)


class TestEventsWithin:
    @given(events, st.integers(1, 20), st.integers(1, 500))
    def test_as_many_as_fit(self, found: list[dict[str, object]], max_events: int, max_bytes: int) -> None:
        """The most events that keep both limits, and at least one."""
        limits = Limits(max_events, max_bytes)
        data = lines(found)
        count = events_within(data, limits)
        assert 1 <= count <= len(found)
        assert count == max(n for n in range(1, len(found) + 1) if n == 1 or fits(data, n, limits))


def fits(data: bytes, count: int, limits: Limits) -> bool:
    """Say whether the array of the first events keeps the limits."""
    array = payload(b"\n".join(data.split(b"\n")[:count]) + b"\n")
    return count <= limits.max_events and len(array) <= limits.max_bytes
