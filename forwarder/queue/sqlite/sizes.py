"""How much disk the queue's content takes, in bytes, and how `max_bytes` is shared out.

`queue.max_bytes` bounds all that is on the disk: the file, its write-ahead log, and the reserve. So the log and the
reserve have fixed parts of it, and the events have the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# Few large pages: an event costs less the more of them one page write carries.
PAGE_BYTES = 16 * 1024
# What is written together becomes one row, up to this size. Larger rows would be fewer to read back, but who wants a
# part of one, the end of a batch or a single dead letter, reads all of it.
ROW_BYTES = 256 * 1024

T = TypeVar("T")


def stored_bytes(size: int) -> int:
    """Return about how many bytes of disk `size` bytes of data take.

    A small row shares its page with others. A large one has overflow pages of its own, each with four bytes that name
    the next one, and the rest of its last page is used by nobody.
    """
    if size < PAGE_BYTES // 2:
        return size + 48
    return -(-(size + 64) // (PAGE_BYTES - 8)) * PAGE_BYTES


def wal_bytes(max_bytes: int) -> int:
    """Return how many bytes of the queue's `max_bytes` are kept for the write-ahead log."""
    return min(32 * 1024 * 1024, max_bytes // 4)


def checkpoint_bytes(wal_bytes: int) -> int:
    """Return the size of the write-ahead log at which it is folded into the file.

    That is half of what is kept for the log. A commit is written whole before the log is folded, so the other half is
    for the largest one. The disk's reserve has the same size: what is in the log finds a place in the file even when
    the disk is full.
    """
    return max(16, wal_bytes // 2 // PAGE_BYTES) * PAGE_BYTES


def packed(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield items in their order, as many together as make a row; one that is larger than a row is alone."""
    together: list[T] = []
    total = 0
    for item in items:
        more = size(item)
        if together and total + more > ROW_BYTES:
            yield together
            together, total = [], 0
        together.append(item)
        total += more
    if together:
        yield together
