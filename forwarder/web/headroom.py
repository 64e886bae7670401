"""Open files that clients leave to others: to deliveries, to the queue, and to whoever asks what is the matter.

Each connection is an open file, and the system gives the lowest number that is free. So a connection whose number is
too high has come when nearly all are taken; it is closed again at once, counted, and told in the log. Where none were
kept back, idle clients would stop deliveries, and nobody could ask why.
"""

from __future__ import annotations

import asyncio
from typing import Final

from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice

# Files that the queue opens now and then, and whatever else is not counted one by one.
_QUEUE_FILES: Final = 8
# A delivery has a connection, of which a second descriptor is kept (see `delivery.connection`).
_PER_DELIVERY: Final = 2
# Beyond them, each destination looks its name up and tries several addresses.
_MORE_PER_DESTINATION: Final = 2
# Connections of the admin API that are possible when those of the intake are no more.
_ADMIN_FILES: Final = 8
# Seconds between two lines of the log.
_TELL_SECONDS: Final = 10.0

# Who is refused has nobody to talk to.
_nobody = asyncio.Protocol()


def kept_back(files: int, in_flight: list[int]) -> tuple[int, int]:
    """Return how many of so many open files intake and admin API leave to others; `in_flight` is by destination."""
    deliveries = sum(at_once * _PER_DELIVERY + _MORE_PER_DESTINATION for at_once in in_flight)
    # Whatever a configuration wants, most files are there for clients.
    admin = min(deliveries + _QUEUE_FILES, files // 4)
    return admin + min(_ADMIN_FILES, files // 8), admin


class Headroom:
    """Lets connections of one kind in while their descriptors are below `limit`; None is no limit."""

    def __init__(self, kind: str, observer: Observer, limit: int | None = None) -> None:
        self._kind = kind
        self._observer = observer
        self.limit = limit
        self.refused = 0
        """Connections that were closed since the start."""
        self._told = 0
        self._timer: asyncio.TimerHandle | None = None

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Return whether a connection may stay; to be asked when it is made. One that may not is closed."""
        if self.limit is None or transport.get_extra_info("socket").fileno() < self.limit:
            return True
        # Its end is not told to those who were never told of its beginning.
        transport.set_protocol(_nobody)
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        else:
            transport.close()
        self.refused += 1
        if self._timer is None:
            self._tell()
        return False

    def _tell(self) -> None:
        """Log what was refused since the last line, and look again in a while."""
        self._timer = None
        if self.refused == self._told:
            return
        details = {"kind": self._kind, "connections": self.refused - self._told, "limit": self.limit}
        self._observer.saw(Notice("connections.refused", details))
        self._told = self.refused
        self._timer = asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell)
