"""How much disk the content of the queue is taken to need."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.sqlite.sizes import PAGE_BYTES, ROW_BYTES, checkpoint_bytes, packed, stored_bytes, wal_bytes


@given(st.integers(0, 1 << 24), st.integers(0, 1 << 16))
def test_never_less_than_the_data(size: int, more: int) -> None:
    """What is counted is at least the data, grows with it, and is not much more than a page above it."""
    assert size < stored_bytes(size) <= stored_bytes(size + more)
    assert stored_bytes(size) <= size * 1.02 + 2 * PAGE_BYTES


@given(st.integers(1 << 20, 1 << 40))
def test_the_log_leaves_most_to_the_events(max_bytes: int) -> None:
    """Log and reserve together take at most three eighths, and little of a large queue; a large commit fits beside."""
    log = wal_bytes(max_bytes)
    reserve = checkpoint_bytes(log)
    assert reserve % PAGE_BYTES == 0
    assert log + reserve <= max(max_bytes * 3 // 8, log + 16 * PAGE_BYTES)
    assert log <= 32 << 20


@given(st.lists(st.integers(0, 2 * ROW_BYTES), max_size=20))
def test_what_is_written_together(sizes: list[int]) -> None:
    """All of it is written, in its order, in rows that are as large as may be; only what is too large is alone."""
    rows = list(packed(sizes, lambda size: size))
    assert [size for row in rows for size in row] == sizes
    assert all(row and (len(row) == 1 or sum(row) <= ROW_BYTES) for row in rows)
    assert all(sum(row) + following[0] > ROW_BYTES for row, following in pairwise(rows))


def test_the_parts_of_the_disk() -> None:
    """The log has a quarter, up to 32 MiB; it is folded at half of that, in whole pages."""
    assert [wal_bytes(mib << 20) for mib in (1, 100, 128, 10_000)] == [1 << 18, 25 << 20, 32 << 20, 32 << 20]
    assert checkpoint_bytes(32 << 20) == 16 << 20
    assert checkpoint_bytes((32 << 20) + PAGE_BYTES) == 16 << 20
    assert checkpoint_bytes(1 << 10) == 16 * PAGE_BYTES


def test_small_rows_share_a_page() -> None:
    """Of rows of less than half a page several go into one; a larger one has pages of its own."""
    assert stored_bytes(100) < 200
    assert stored_bytes(PAGE_BYTES // 2 - 1) < PAGE_BYTES
    assert stored_bytes(PAGE_BYTES // 2) == PAGE_BYTES
    assert stored_bytes(PAGE_BYTES - 64) == 2 * PAGE_BYTES
