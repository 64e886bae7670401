"""How much disk the queue's content takes, in bytes."""

from __future__ import annotations

# Few large pages: an event costs less the more of them one page write carries.
PAGE_BYTES = 16 * 1024


def stored_bytes(size: int) -> int:
    """Return about how many bytes of disk `size` bytes of data take: whole pages when they fill one."""
    if size < PAGE_BYTES // 2:
        return size + 48
    return -(-(size + 64) // (PAGE_BYTES - 8)) * PAGE_BYTES


def wal_bytes(max_bytes: int) -> int:
    """Return how many bytes of the queue's `max_bytes` are kept for the write-ahead log."""
    return min(32 * 1024 * 1024, max_bytes // 4)
