"""Sockets to listen at: unix sockets with a mode, TCP, and those that systemd passes.

A socket file that nobody listens at any more, left behind by a crash, is replaced; one that answers
belongs to somebody else and is left alone.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from forwarder.errors import ListenError
from forwarder.model import Address

# Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and its address; `inode` is set where its file is ours to remove."""

    address: Address
    socket: socket.socket
    inode: int | None = None

    def close(self) -> None:
        """Stop listening, and remove the file of a unix socket that we made, unless it was replaced."""
        self.socket.close()
        if self.inode is not None and self.address.path is not None:
            path = Path(self.address.path)
            if path.exists() and path.stat().st_ino == self.inode:
                path.unlink()


def listen(address: Address, *, mode: int = 0o660) -> Listener:
    """Listen at an address; `mode` is that of a unix socket's file. Raises ListenError."""
    try:
        return _listen_unix(address, Path(address.path), mode) if address.path is not None else _listen_tcp(address)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"cannot listen at {address}: {words}", hint=_hint(address, error)) from error


def adopt(passed: socket.socket) -> Listener:
    """Take over a socket that is listening already."""
    name = passed.getsockname()
    address = Address(path=name) if passed.family == socket.AF_UNIX else Address(host=name[0], port=name[1])
    return Listener(address, passed)


def _listen_tcp(address: Address) -> Listener:
    family, _, _, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(Address(host=address.host, port=sock.getsockname()[1]), sock)


def _listen_unix(address: Address, path: Path, mode: int) -> Listener:
    if path.exists():
        _remove_stale(address, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody may connect before the mode is set.
    mask = os.umask(0o777)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    try:
        path.chmod(mode)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(address, sock, path.stat().st_ino)


def _remove_stale(address: Address, path: Path) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ListenError(
            f"cannot listen at {address}: there is a file of that name", hint=f"move it away, or choose another: {path}"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ListenError(
        f"cannot listen at {address}: another process listens there", hint="stop it, or choose another address"
    )


def _hint(address: Address, error: Exception) -> str:
    if address.path is not None:
        folder = Path(address.path).parent
        if not folder.exists():
            return f"create the folder: mkdir -p {folder}"
        return f"let this user (uid {os.getuid()}) write to {folder}"
    if isinstance(error, PermissionError):
        return "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
    return f"see who listens there: ss -ltnp 'sport = :{address.port}'"
