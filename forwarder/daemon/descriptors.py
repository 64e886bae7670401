"""Allow as many open files as the system permits, because each connection takes one.

The soft limit is 1,024 almost everywhere, for the sake of programs that call select(2), which cannot handle
more. This program does not call it. The limit that the administrator intends is the hard one
(systemd.exec(5), LimitNOFILE=).
"""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_files() -> int:
    """Return how many files may be open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
