"""The limit of open files, for tests that open many."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def soft_limit(files: int) -> Iterator[None]:
    """Allow this process, and those that it starts meanwhile, so many open files.

    Raises ValueError where the system does not allow as many.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
