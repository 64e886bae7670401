"""Ask the kernel who can connect to a bound socket, and who is at the other end of a connection.

A name can resolve to anything, and a socket that systemd passes has no address in our configuration. So
the rules look at the socket itself (getsockname(2)). In case of doubt the wider reach is assumed.
"""

from __future__ import annotations

import socket
import stat
import struct
from enum import Enum
from pathlib import Path

from forwarder.errors import ExposedError
from forwarder.model import Address

# struct ucred of unix(7): pid, uid, gid.
_UCRED = struct.Struct("3i")


class Reach(Enum):
    """Who can connect, from few to many."""

    FILE = "file"
    """Those who may write to the socket's file, according to its mode, its group and the folders above it."""
    MACHINE = "machine"
    """Every user of this machine, and every container that shares its network."""
    NETWORK = "network"
    """Other machines as well."""


def reach_of(bound: socket.socket) -> Reach:
    """Return who can connect to a bound socket; one of an unknown family counts as `NETWORK`."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return _reach_of_file(name)
    if bound.family in {socket.AF_INET, socket.AF_INET6}:
        return Reach.MACHINE if Address(host=name[0]).is_loopback else Reach.NETWORK
    return Reach.NETWORK


def _reach_of_file(name: str | bytes) -> Reach:
    """Return who can connect to a unix socket; one in the abstract namespace (unix(7)) has no mode to protect it."""
    if not isinstance(name, str) or not name:
        return Reach.MACHINE
    try:
        mode = Path(name).lstat().st_mode
    except OSError:
        return Reach.MACHINE
    return Reach.FILE if stat.S_ISSOCK(mode) and not mode & stat.S_IWOTH else Reach.MACHINE


def peer_credentials(peer: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end of a unix socket. Raises OSError."""
    pid, uid, _gid = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def refuse_exposed(address: Address, reach: Reach, setting: str) -> None:
    """Raise ExposedError if other machines can reach this socket, at which clients need no token.

    `setting` is the one that would give them a token.
    """
    if reach is Reach.NETWORK:
        raise ExposedError(
            f"{address} can be reached from other machines, and no token is required",
            hint=f"set {setting}, or listen at 127.0.0.1 or a unix socket",
        )
