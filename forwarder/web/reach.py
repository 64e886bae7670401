"""Who can connect to a bound socket, by what the kernel says of it.

A name can resolve to anything, and a socket that systemd hands over has no address in our
configuration: so rules ask the socket itself (getsockname(2)). What is not known for certain counts
as the wider reach.
"""

from __future__ import annotations

import socket
import stat
from enum import Enum
from pathlib import Path

from forwarder.errors import ExposedError
from forwarder.model import Address


class Reach(Enum):
    """Who can connect, from few to many."""

    FILE = "file"
    """Whoever may write to the socket's file: those that its mode, its group and the folders above it let through."""
    MACHINE = "machine"
    """Every user of this machine, and every container that shares its network."""
    NETWORK = "network"
    """Other machines, too."""


def reach_of(bound: socket.socket) -> Reach:
    """Return who can connect to a socket that is bound; one of another family counts as `NETWORK`."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return _reach_of_file(name)
    if bound.family in {socket.AF_INET, socket.AF_INET6}:
        return Reach.MACHINE if Address(host=name[0]).is_loopback else Reach.NETWORK
    return Reach.NETWORK


def _reach_of_file(name: str | bytes) -> Reach:
    """Return who can connect to a unix socket: a name in the abstract namespace (unix(7)) has no mode."""
    if not isinstance(name, str) or not name:
        return Reach.MACHINE
    try:
        mode = Path(name).lstat().st_mode
    except OSError:
        return Reach.MACHINE
    return Reach.FILE if stat.S_ISSOCK(mode) and not mode & stat.S_IWOTH else Reach.MACHINE


def refuse_exposed(address: Address, reach: Reach, section: str) -> None:
    """Raise ExposedError if other machines can reach a socket at which no token is asked for."""
    if reach is Reach.NETWORK:
        raise ExposedError(
            f"{address} can be reached from other machines, and no token is required",
            hint=f"set {section}.token_file, or listen at 127.0.0.1 or a unix socket",
        )
