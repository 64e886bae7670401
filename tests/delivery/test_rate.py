"""How fast a destination may be sent to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.rate import Rate
from forwarder.model import Limits


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 5000), st.floats(0, 10)), min_size=1))
def test_the_mean_is_kept(requests: list[tuple[int, int, float]]) -> None:
    """Whoever sends as soon as that is allowed sends no more than the rates in all, but for the last request."""
    rate, now = Rate(100, 1000), 0.0
    events = size = 0
    for count, length, pause in requests:
        now = max(now + pause, rate.ready_at)
        assert events <= 100 * now + 1e-6
        assert size <= 1000 * now + 1e-6
        rate.sent(count, length, now)
        events, size = events + count, size + length


def test_no_limit() -> None:
    """Without a limit nothing is waited for, and batches are as large as ever."""
    rate = Rate(None, None)
    rate.sent(1_000_000, 1 << 40, 5.0)
    assert rate.ready_at < 5.0
    assert rate.within(Limits(7, 70)) == Limits(7, 70)


def test_a_batch_is_what_a_second_allows() -> None:
    """Batches are cut to a second's worth, counted as signed, and have at least one event."""
    assert Rate(5, 400).within(Limits(1000, 1 << 20)) == Limits(5, 300)
    assert Rate(None, 1024).within(Limits(1000, 10)) == Limits(1000, 10)
    assert Rate(1, 1).within(Limits(1000, 1 << 20)) == Limits(1, 1)


def test_no_longer_than_the_rate_needs() -> None:
    """The next request waits for what the last one costs, by events or by bytes, whichever is more."""
    rate = Rate(10, 1000)
    rate.sent(20, 500, 5.0)
    assert rate.ready_at == 7.0
    rate.sent(1, 3000, 6.0)
    assert rate.ready_at == 10.0
