"""What systemd passes to a service and is told by it: listening sockets, readiness, the watchdog.

The protocols are those of sd_listen_fds(3) and sd_notify(3). Outside systemd all of it does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

# sd_listen_fds(3): the first descriptor that is passed.
_FIRST_DESCRIPTOR = 3


def listening_sockets(environ: Mapping[str, str]) -> list[tuple[str, socket.socket]]:
    """Return the sockets that were passed to this process, each with its FileDescriptorName."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    sockets = []
    for number, name in zip(range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count), names, strict=False):
        os.set_inheritable(number, False)
        passed = socket.socket(fileno=number)
        passed.setblocking(False)
        sockets.append((name, passed))
    return sockets


class Notifier:
    """Tells the service manager how the service is doing (sd_notify(3))."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that starts with @ is in the abstract namespace (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        wanted = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = int(environ.get("WATCHDOG_USEC", "0")) if wanted else 0
        self.watchdog_seconds: float | None = usec / 1e6 or None

    def send(self, *assignments: str) -> None:
        """Send lines such as `READY=1`; without a service manager nothing happens."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
            peer.sendto("\n".join(assignments).encode(), self._address)
