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


def checkpoint_bytes(wal_bytes: int) -> int:
    """Return the size of the write-ahead log at which it is folded into the file.

    That is half of what is kept for it; the rest is for one large commit. The disk's reserve is as
    large, so that what is in the log has a place when the disk is full.
    """
    return max(16, wal_bytes // 2 // PAGE_BYTES) * PAGE_BYTES
