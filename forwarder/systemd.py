"""Talk to systemd: take over the listening sockets that it passes, and report readiness and signs of life.

The protocols are those of sd_listen_fds(3) and sd_notify(3). Without systemd, none of this does anything.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

from forwarder.errors import ListenError

# The first descriptor that is passed (sd_listen_fds(3)).
_FIRST_DESCRIPTOR = 3

log = structlog.get_logger(__name__)


def listening_sockets(environ: Mapping[str, str], *, first: int = _FIRST_DESCRIPTOR) -> list[tuple[str, socket.socket]]:
    """Return the sockets that were passed to this process, each with its FileDescriptorName.

    Raises ListenError if a descriptor is not a socket.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = _number(environ, "LISTEN_FDS")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    sockets = []
    for number, name in zip(range(first, first + count), names, strict=False):
        try:
            os.set_inheritable(number, False)
            passed = socket.socket(fileno=number)
        except OSError as error:
            raise ListenError(
                f"descriptor {number} ({name or 'without a name'}), passed by systemd, is no socket: {error.strerror}",
                hint="see the Sockets= of the service, and their ListenStream=",
            ) from error
        passed.setblocking(False)
        sockets.append((name, passed))
    return sockets


class Notifier:
    """Tells the service manager how the service is doing (sd_notify(3))."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that starts with @ is in the abstract namespace (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._is_heard = True
        wanted = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = _number(environ, "WATCHDOG_USEC") if wanted else 0
        self.watchdog_seconds: float | None = usec / 1e6 or None

    def send(self, *assignments: str) -> None:
        """Send lines such as `READY=1`; without a service manager nothing happens.

        An error is no reason to stop, so it is only logged, and only once until sending works again.
        """
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
                peer.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if self._is_heard:
                log.warning("systemd.not_told", reason=error.strerror or str(error))
            self._is_heard = False
        else:
            self._is_heard = True


def _number(environ: Mapping[str, str], name: str) -> int:
    """Return a number that systemd has set in a variable, or 0 if it is missing or not a number."""
    value = environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else 0
