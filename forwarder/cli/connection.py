"""Connect over HTTP to a local address, a unix socket or a TCP port, and explain why that failed."""

from __future__ import annotations

import grp
import http.client
import os
import pwd
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from forwarder.errors import ForwarderError, NotReachableError
from forwarder.model import Address

# Seconds to wait for a connection. A local daemon accepts within milliseconds; the rest is for a machine under load.
CONNECT_TIMEOUT = 5.0
# Where units are installed (systemd.unit(5)), and the folder by which to tell that systemd runs (sd_booted(3)).
_UNITS = (Path("/etc/systemd/system"), Path("/usr/local/lib/systemd/system"), Path("/usr/lib/systemd/system"))
_BOOTED = Path("/run/systemd/system")


class HttpConnection(http.client.HTTPConnection):
    """An HTTP connection to an address; `timeout` limits the wait for each piece of an answer, in seconds."""

    def __init__(self, address: Address, *, timeout: float) -> None:
        super().__init__(address.host or "localhost", address.port, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = dial(self._address)
        self.sock.settimeout(self.timeout)


def request_headers(token: str | None) -> dict[str, str]:
    """Return the fields that every request to the daemon has."""
    fields = {"Host": "localhost", "User-Agent": "forwarder"}
    return fields if token is None else {**fields, "Authorization": f"Bearer {token}"}


def dial(address: Address) -> socket.socket:
    """Return a socket that is connected to the address. Raises OSError."""
    if address.path is None:
        dialled = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT)
        # Each request is written as a whole, so there is no point in delaying it for more (Nagle's algorithm).
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return dialled
    dialled = socket.socket(socket.AF_UNIX)
    try:
        dialled.settimeout(CONNECT_TIMEOUT)
        dialled.connect(address.path)
    except BaseException:
        dialled.close()
        raise
    return dialled


def is_answered(address: Address) -> bool:
    """Return whether somebody listens at an address, even if this user may not connect to it."""
    try:
        dial(address).close()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _down() -> str:
    """Return the words on how to find out whether the daemon runs."""
    if _BOOTED.is_dir() and any((folder / "forwarder.service").exists() for folder in _UNITS):
        return "is the daemon running? `systemctl status forwarder` says"
    return "is the daemon running? `forwarder run` starts it"


def unreachable(address: Address, error: OSError | http.client.HTTPException) -> ForwarderError:
    """Return an error that says why an address does not answer, and what to do."""
    if isinstance(error, TimeoutError):
        return NotReachableError(f"{address} does not answer in time", hint=_down())
    if isinstance(error, PermissionError) and address.path is not None:
        return NotReachableError(f"{address}: permission denied", hint=_who_may(Path(address.path)))
    if isinstance(error, FileNotFoundError):
        return NotReachableError(f"{address}: there is no such socket", hint=_down())
    if isinstance(error, ConnectionRefusedError):
        return NotReachableError(f"{address}: nobody listens there", hint=_down())
    if isinstance(error, socket.gaierror):
        return NotReachableError(f"{address}: the host name cannot be resolved: {error.strerror}")
    if isinstance(error, http.client.HTTPException | ConnectionError):
        return NotReachableError(f"{address}: the connection broke before the answer was complete", hint=_down())
    return NotReachableError(f"{address}: {error.strerror or error}", hint=_down())


def _who_may(path: Path) -> str:
    """Name the owner and the group of the first folder on the path, or of the socket, that denies us access."""
    for part in [*reversed(path.parents), path]:
        needed = os.W_OK if part == path else os.X_OK
        if os.access(part, needed):
            continue
        try:
            status = part.stat()
        except OSError:
            break
        user, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
        return f"{part} belongs to user {user} and group {group}: run the command as {user}, or use sudo"
    return "run the command as a user that may open the socket, or use sudo"


def _name(look_up: Callable[[int], Sequence[object]], number: int) -> str:
    """Return the name of a user or a group, with which its entry begins; a number that has none stands for itself."""
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
