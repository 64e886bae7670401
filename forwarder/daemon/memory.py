"""Tune memory: keep freed blocks for the next batch, and keep permanent objects out of garbage collection.

glibc returns a freed block of more than 128 KiB to the system, so the next batch of that size causes a
page fault for each 4 KiB, which takes a quarter of the processor time of a delivery. The garbage collector
visits every object in each full pass, which takes longer than a commit.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# Parameters of mallopt(3). Setting any of them disables the automatic adjustment of the thresholds.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
# Blocks up to this size, in bytes, come from the heap. That covers usual batches and their JWS, but not large requests.
_HEAP_BLOCK: Final = 4 * 1024 * 1024
# Free bytes that are kept at the end of the heap: enough for several batches under way.
_KEPT: Final = 16 * 1024 * 1024


def keep_freed_blocks() -> None:
    """Make the allocator keep freed memory for several batches; does nothing if the C library has no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_TOP_PAD, _KEPT // 4)


def spare_what_stays() -> None:
    """Exclude all objects that exist now from garbage collection; to be called when everything is set up."""
    gc.collect()
    gc.freeze()
