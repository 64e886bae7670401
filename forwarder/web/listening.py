"""Open listening sockets: unix sockets with a mode and a group, TCP sockets, and those that systemd passes.

An address that other machines can reach is opened only if clients need a token there. A socket file
left behind by a crash, at which nobody listens any more, is replaced; one that answers belongs to
another process and is left alone.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from forwarder.errors import ListenError
from forwarder.model import Address
from forwarder.web.reach import Reach, reach_of, refuse_exposed

# Connections that may wait to be accepted; the kernel caps this at net.core.somaxconn. Pass it on when
# serving a listener, because an event loop calls listen(2) again, with a default of its own.
BACKLOG = 4096
# The longest path of a unix socket, in bytes (unix(7)).
_MAX_PATH = 107


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, its address, and who can connect.

    `inode` is set if we made its file, so that we may change and remove it; `gid` is the group the file was made with.
    """

    address: Address
    socket: socket.socket
    reach: Reach
    inode: int | None = None
    gid: int = -1

    def open_to(self, mode: int, gid: int | None) -> None:
        """Set the mode and the group of a unix socket's file, if we made it; None restores its first group.

        A file that has replaced ours is left alone. Raises ListenError.
        """
        if self.inode is None or self.address.path is None:
            return
        path = Path(self.address.path)
        try:
            found = path.lstat()
            if found.st_ino != self.inode:
                return
            wanted = self.gid if gid is None else gid
            # Take the group's rights away first. Otherwise there would be a moment in which the new group has access
            # by the old mode, or the old group by the new one.
            if found.st_gid != wanted:
                path.chmod(mode & ~0o070)
                os.chown(path, -1, wanted)
            path.chmod(mode)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _not_given(path, gid, error) from error

    def close(self) -> None:
        """Stop listening, and remove the file of a unix socket that we made, unless it was replaced."""
        self.socket.close()
        if self.inode is not None and self.address.path is not None:
            # If the file cannot be removed, the next start will replace it.
            with suppress(OSError):
                path = Path(self.address.path)
                if path.lstat().st_ino == self.inode:
                    path.unlink()


def group_id(name: str) -> int:
    """Return the id of a group, given by its name or its number. Raises ListenError."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ListenError(
            f"there is no group {name} on this machine", hint=f"correct the name, or make it: groupadd --system {name}"
        ) from None


def listen(
    address: Address,
    *,
    mode: int = 0o660,
    gid: int | None = None,
    has_token: bool = False,
    setting: str = "ingest.token_file",
) -> Listener:
    """Listen at an address; `mode` and `gid` apply to the file of a unix socket.

    `has_token` says whether clients need a token, `setting` which setting names it.
    Raises ListenError, or ExposedError if other machines can reach the address and no token is needed.
    """
    try:
        if address.path is not None:
            return _listen_unix(address, Path(address.path), mode, gid)
        return _listen_tcp(address, has_token=has_token, setting=setting)
    except (OSError, UnicodeError) as error:
        in_use = getattr(error, "errno", None) == errno.EADDRINUSE
        words = "another process listens there" if in_use else getattr(error, "strerror", None) or str(error)
        raise ListenError(f"cannot listen at {address}: {words}", hint=_hint(address, error)) from error


def adopt(passed: socket.socket) -> Listener:
    """Take over a socket that is already listening. Raises ListenError if it is not such a socket.

    The caller has to check whether it needs a token (`refuse_exposed`), because that changes with a reload.
    """
    name = passed.getsockname()
    if passed.family == socket.AF_UNIX:
        # A name in the abstract namespace (unix(7)) is written as systemd does.
        address = Address(path=name if isinstance(name, str) else "@" + name[1:].decode(errors="replace"))
    elif passed.family in {socket.AF_INET, socket.AF_INET6}:
        address = Address(host=name[0], port=name[1])
    else:
        raise ListenError("a socket that was passed in is neither a unix nor a TCP socket", hint=_ADOPT_HINT)
    if passed.type != socket.SOCK_STREAM:
        raise ListenError(f"the socket {address} that was passed in is no stream of bytes", hint=_ADOPT_HINT)
    if not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(f"the socket {address} that was passed in does not listen", hint=_ADOPT_HINT)
    return Listener(address, passed, reach_of(passed))


_ADOPT_HINT = "the socket unit needs ListenStream= and Accept=no"


def _listen_tcp(address: Address, *, has_token: bool, setting: str) -> Listener:
    family, _, _, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with ExitStack() as opening:
        sock = opening.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        reach = reach_of(sock)
        if not has_token:
            refuse_exposed(address, reach, setting)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        opening.pop_all()
    return Listener(Address(host=address.host, port=sock.getsockname()[1]), sock, reach)


def _listen_unix(address: Address, path: Path, mode: int, gid: int | None) -> Listener:
    if len(os.fsencode(path)) > _MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket")
    if os.path.lexists(path):
        _remove_stale(address, path)
    with ExitStack() as opening:
        sock = opening.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.bind(str(path))
        made = path.lstat()
        listener = Listener(address, sock, Reach.FILE, made.st_ino, made.st_gid)
        opening.callback(listener.close)
        # Nobody can connect before listen(2), so mode and group take effect before anybody does.
        listener.open_to(mode, gid)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        opening.pop_all()
    return listener


def _remove_stale(address: Address, path: Path) -> None:
    """Remove the socket file of a process that is gone. Raises ListenError if the file is anything else."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(
            f"cannot listen at {address}: there is a file of that name", hint=f"move it away, or choose another: {path}"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except FileNotFoundError:
            return
        except PermissionError:
            raise ListenError(
                f"cannot listen at {address}: there is a socket of that name that this user may not use",
                hint=f"see whose it is: ls -l {path}; remove it if nobody listens there: ss -lx src {path}",
            ) from None
        except OSError:
            # Somebody listens there, but the backlog is full, or the socket is of another type.
            pass
    raise ListenError(
        f"cannot listen at {address}: another process listens there",
        hint=f"see who it is: ss -lxnp src {path}; stop it, or choose another address",
    )


def _not_given(path: Path, gid: int | None, error: OSError) -> ListenError:
    """Return the error for a socket's file whose mode or group cannot be set."""
    if gid is None or error.errno != errno.EPERM:
        words = f"its mode cannot be set: {error.strerror}"
        return ListenError(f"cannot listen at unix:{path}: {words}", hint=f"see whose it is: ls -l {path}")
    return ListenError(
        f"cannot listen at unix:{path}: it cannot be given to the group {gid}: {error.strerror}",
        hint=f"the daemon's user must be a member of that group: SupplementaryGroups={gid} in its unit, "
        f"group_add: [{gid}] for its container",
    )


def _hint(address: Address, error: Exception) -> str:
    """Return the operator's next step."""
    code = getattr(error, "errno", None)
    if address.path is not None:
        folder = Path(address.path).parent
        if code == errno.ENAMETOOLONG:
            return f"choose a path of at most {_MAX_PATH} bytes"
        if not folder.exists():
            return f"create the folder: mkdir -p {folder}"
        return f"let this user (uid {os.getuid()}) write to {folder}"
    if isinstance(error, PermissionError):
        return "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
    if code == errno.EADDRINUSE:
        return f"see who listens there: ss -ltnp 'sport = :{address.port}'"
    return "use an address of this machine (see: ip address), or 127.0.0.1"
