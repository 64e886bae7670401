"""Keep open files in reserve for deliveries, the queue and the admin API, however many clients connect.

Without a reserve, idle clients could use up all descriptors: deliveries would stop, and nobody could ask
why. Each connection is an open file, and the system assigns the lowest free number. So a high number
means that nearly all files are in use; such a connection is closed at once, counted, and logged.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice

# Files that the queue opens now and then, and others that are not counted individually.
_QUEUE_FILES: Final = 8
# A delivery has a connection, for which a second descriptor is kept (see `delivery.connection`).
_PER_DELIVERY: Final = 2
# In addition, each destination needs files to look up its name and to try several addresses.
_MORE_PER_DESTINATION: Final = 2
# Connections of the admin API that are still possible when the intake may accept no more.
_ADMIN_FILES: Final = 8
# Seconds between two lines in the log.
_TELL_SECONDS: Final = 10.0

# Takes the place of the real protocol of a refused connection, and ignores everything.
_nobody = asyncio.Protocol()


def kept_back(files: int, in_flight: list[int]) -> tuple[int, int]:
    """Return how many of `files` the intake, and how many the admin API, must leave free.

    `in_flight` lists the deliveries of each destination that may be under way at the same time.
    """
    deliveries = sum(at_once * _PER_DELIVERY + _MORE_PER_DESTINATION for at_once in in_flight)
    # However many deliveries are configured, most files stay available to clients.
    admin = min(deliveries + _QUEUE_FILES, files // 4)
    return admin + min(_ADMIN_FILES, files // 8), admin


class Headroom:
    """Admits connections of one kind while their descriptors are below `limit`; None means no limit."""

    def __init__(self, kind: str, observer: Observer, limit: int | None = None) -> None:
        self._kind = kind
        self._observer = observer
        self.limit = limit
        self.refused = 0
        """Connections that were refused since the start."""
        self._told = 0
        self._timer: asyncio.TimerHandle | None = None

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Return whether a connection may stay, and close it if not. To be called when it is made."""
        if self.limit is None or transport.get_extra_info("socket").fileno() < self.limit:
            return True
        # The real protocol has not heard of this connection, so it must not hear of its end either.
        transport.set_protocol(_nobody)
        cast("asyncio.Transport", transport).abort()
        self.refused += 1
        if self._timer is None:
            self._tell()
        return False

    def _tell(self) -> None:
        """Log how many were refused since the last line, and check again in a while."""
        self._timer = None
        if self.refused == self._told:
            return
        details = {"kind": self._kind, "connections": self.refused - self._told, "limit": self.limit}
        self._observer.saw(Notice("connections.refused", details))
        self._told = self.refused
        self._timer = asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell)
