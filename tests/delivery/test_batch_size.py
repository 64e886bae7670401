"""How large a batch the destination takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.batch_size import BatchSize
from forwarder.model import Limits

CONFIGURED = Limits(1000, 1 << 20)


def send(batch_size: BatchSize, sizes: list[int], most: Limits) -> tuple[int, int]:
    """Send events of these sizes to a destination that takes `most`; return requests taken and refused."""
    taken = refused = at = 0
    while at < len(sizes):
        count, size = 0, 1
        while at + count < len(sizes) and count < batch_size.limits.max_events:
            if count and size + sizes[at + count] + 1 > batch_size.limits.max_bytes:
                break
            size += sizes[at + count] + 1
            count += 1
        if count > 1 and (count > most.max_events or size > most.max_bytes):
            batch_size.too_large(count, size)
            refused += 1
        else:
            if count <= most.max_events and size <= most.max_bytes:
                batch_size.passed(count, size)
                taken += 1
            at += count
    return taken, refused


def test_nothing_refused_nothing_changed() -> None:
    """A destination that takes everything gets batches as configured."""
    batch_size = BatchSize(CONFIGURED)
    assert send(batch_size, [400] * 20_000, CONFIGURED) == (20, 0)
    assert batch_size.limits == CONFIGURED


def test_a_limit_of_events_is_learned() -> None:
    """After a few refusals batches stay below the limit, and it is tried ever more seldom to go beyond."""
    batch_size = BatchSize(CONFIGURED)
    taken, refused = send(batch_size, [400] * 100_000, Limits(300, 1 << 30))
    assert taken <= 100_000 / 250 + 10
    assert refused <= 8
    assert batch_size.limits.max_events == 250


def test_a_limit_of_bytes_is_learned() -> None:
    """It makes no difference whether bytes or events are too many."""
    batch_size = BatchSize(CONFIGURED)
    taken, refused = send(batch_size, [20_000] * 5000, Limits(1 << 30, 200_000))
    assert taken <= 5000 / 5 + 10
    assert refused <= 10


def test_one_large_event_is_soon_forgotten() -> None:
    """An event that no request could carry does not make batches small for long."""
    batch_size = BatchSize(CONFIGURED)
    sizes = [400] * 3 + [700_000] + [400] * 50_000
    taken, refused = send(batch_size, sizes, Limits(1 << 30, 600_000))
    assert refused == 1
    assert taken < 80
    assert batch_size.limits == CONFIGURED


def test_the_whole_size_is_tried_again() -> None:
    """When the destination takes more again, batches grow to what is configured."""
    batch_size = BatchSize(CONFIGURED)
    send(batch_size, [400] * 1000, Limits(10, 1 << 30))
    assert batch_size.limits.max_events <= 10
    send(batch_size, [400] * 500_000, CONFIGURED)
    assert batch_size.limits == CONFIGURED


def test_small_batches_say_nothing() -> None:
    """A destination that took lonely events may still refuse full batches."""
    batch_size = BatchSize(CONFIGURED)
    batch_size.too_large(1000, 400_000)
    learned = batch_size.limits
    for _ in range(10_000):
        batch_size.passed(1, 400)
    assert batch_size.limits == learned


def test_what_was_under_way_counts_once() -> None:
    """Batches that were refused together halve the limit once."""
    batch_size = BatchSize(CONFIGURED)
    for _ in range(4):
        batch_size.too_large(1000, 400_000)
    assert batch_size.limits.max_events == 500
    batch_size.too_large(500, 200_000)
    batch_size.too_large(1000, 400_000)
    assert batch_size.limits.max_events == 250


@given(
    st.lists(st.integers(1, 50_000), min_size=1, max_size=400),
    st.builds(Limits, st.integers(1, 100), st.integers(100, 100_000)),
    st.builds(Limits, st.integers(1, 100), st.integers(100, 100_000)),
)
def test_comes_to_an_end(sizes: list[int], configured: Limits, most: Limits) -> None:
    """Whatever the limits, every event is tried, and the limits stay positive and within what is configured."""
    batch_size = BatchSize(configured)
    taken, refused = send(batch_size, sizes, most)
    assert taken <= len(sizes)
    assert refused <= len(sizes) * 20
    assert 1 <= batch_size.limits.max_events <= configured.max_events
    assert 1 <= batch_size.limits.max_bytes <= configured.max_bytes
