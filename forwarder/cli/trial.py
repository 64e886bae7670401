"""Try to listen at an address as the daemon would, and leave everything as it was."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from forwarder.cli.connection import dial, is_answered
from forwarder.errors import ForwarderError
from forwarder.files import barrier
from forwarder.model import Address
from forwarder.web.listening import group_id, listen
from forwarder.web.reach import peer_credentials


class TrialError(ForwarderError):
    """The daemon could not listen there; the hint says what to do."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """The running daemon of the same configuration: its process, and the addresses in its note."""

    pid: int
    addresses: frozenset[str]


def try_address(
    address: Address, *, mode: int, group: str | None, has_token: bool, setting: str, running: Occupant | None
) -> str:
    """Return the state of an address. Raises TrialError or ListenError if the daemon could not listen there."""
    if running is not None and is_answered(address) and _is_of(running, address):
        return f"{address}, of the running daemon (process {running.pid})"
    if address.path is not None:
        _look_at_folder(address, Path(address.path))
        if _is_stale(address, Path(address.path)):
            return f"{address}, left behind by a process that is gone"
    gid = None if group is None else group_id(group)
    listen(address, mode=mode, gid=gid, has_token=has_token, setting=setting).close()
    return str(address)


def _is_of(running: Occupant, address: Address) -> bool:
    """Return whether the one that listens at an address is the running daemon."""
    if str(address) in running.addresses:
        return True
    if address.path is None:
        # Of a TCP address the process cannot be found out, only noted. A daemon without a note is assumed to listen at
        # what is configured.
        return not running.addresses
    try:
        with dial(address) as peer:
            pid, _uid = peer_credentials(peer)
    except OSError:
        return False
    return pid == running.pid


def _look_at_folder(address: Address, path: Path) -> None:
    folder = path.parent
    if (barred := barrier(folder)) != folder:
        raise TrialError(
            f"{address}: user {os.geteuid()} may not enter {barred}", hint="Name a folder that it may enter"
        )
    if not folder.is_dir():
        raise TrialError(f"{address}: there is no folder {folder}", hint=f"Run: mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise TrialError(
            f"{address}: user {os.geteuid()} may not write to {folder}", hint="Name a folder that is this user's"
        )


def _is_stale(address: Address, path: Path) -> bool:
    """Return whether there is a socket file at which nobody listens, which the daemon would replace."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False
    return is_socket and not is_answered(address)
