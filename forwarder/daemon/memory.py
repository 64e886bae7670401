"""How the process holds memory: freed blocks are kept for the next batch, and what stays is not looked at.

glibc hands a freed block of more than 128 KiB back to the system, and the next batch of that size
costs a page fault for each 4 KiB: a quarter of all processor time of the delivery. The collector
of cycles walks over every object in each full pass, which takes longer than a commit.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# Parameters of mallopt(3). Setting one ends the automatic adjustment of both.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
# Blocks up to this size, in bytes, come from the heap: usual batches, signed. A large request does not.
_HEAP_BLOCK: Final = 4 * 1024 * 1024
# Bytes at the end of the heap that are kept when they become free: some batches on their way.
_KEPT: Final = 16 * 1024 * 1024


def keep_freed_blocks() -> None:
    """Let the allocator keep freed memory, up to some batches; does nothing where the C library has no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_TOP_PAD, _KEPT // 4)


def spare_what_stays() -> None:
    """Take everything that exists now out of the sight of the collector of cycles; call it when all is set up."""
    gc.collect()
    gc.freeze()
