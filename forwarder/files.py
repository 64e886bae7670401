"""Read small files without ever blocking: keys, tokens, passphrases, certificates, the configuration.

A reload reads files in the middle of a running daemon, so a read must return whatever the path leads to: a
named pipe that nobody writes to, a device or a folder is refused. A file with a secret is read only if nobody
else can read or change it: others must have no access at all, and the group may have read access at most,
because systemd's credentials and Kubernetes' secrets arrive with mode 0440. The checks look at the open file,
not at its name, so that the file cannot be exchanged between the check and the read.

Hints to operators never suggest changing the owner of a file or folder, which may belong to the system or to
another service.
"""

from __future__ import annotations

import os
import select
import shlex
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from forwarder.errors import FileError

# Permissions that a secret must not have: any for others, and writing or executing for the group.
_REFUSED_MODE: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
_READ_BYTES: Final = 64 * 1024
# Where systemd puts credentials (systemd.exec(5)).
_CREDENTIALS: Final = Path("/run/credentials")


def read(file: Path, max_bytes: int, *, secret: bool, pipe_seconds: float = 0.0) -> bytes:
    """Return the content of a regular file, or of a pipe that is written within `pipe_seconds`.

    Raises FileError, for a secret also if others could read or change it.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would block until somebody opens it for writing.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise FileError(file, "there is no such file", hint=f"ls -l {_quoted(file.parent)}", is_missing=True) from None
    except PermissionError:
        raise _denied(file) from None
    except (OSError, ValueError) as error:
        raise _failed(file, error) from None
    try:
        mode = os.fstat(descriptor).st_mode
        _check(mode, file, secret=secret, pipe=pipe_seconds > 0)
        data = (
            _from_pipe(descriptor, max_bytes, pipe_seconds)
            if stat.S_ISFIFO(mode)
            else os.read(descriptor, max_bytes + 1)
        )
    except OSError as error:
        raise _failed(file, error) from None
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        limit = f"{max_bytes // 1024} KiB"
        raise FileError(file, f"is larger than {limit}", hint=f"see what it is: head -c 300 {_quoted(file)}")
    return data


def _check(mode: int, file: Path, *, secret: bool, pipe: bool) -> None:
    if stat.S_ISDIR(mode):
        raise FileError(file, "is a folder", hint=f"name the file in it: ls -l {_quoted(file)}")
    if not stat.S_ISREG(mode) and not (pipe and stat.S_ISFIFO(mode)):
        raise FileError(file, "is not a regular file", hint="name the file itself, not a pipe or a device")
    if secret and mode & _REFUSED_MODE:
        raise FileError(
            file,
            f"its mode is {stat.S_IMODE(mode):04o}, so that others can read or change it",
            hint=f"chmod 600 {_quoted(file)} (for a mounted secret, set its mode to 0440)",
        )


def _from_pipe(descriptor: int, max_bytes: int, seconds: float) -> bytes:
    """Read to the end of a pipe. Raises OSError, also if that takes too long."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    data = b""
    while len(data) <= max_bytes:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(0, "it is a pipe into which nobody writes")
        piece = os.read(descriptor, _READ_BYTES)
        if not piece:
            break
        data += piece
    return data


def _failed(file: Path, error: OSError | ValueError) -> FileError:
    reason = getattr(error, "strerror", None) or str(error)
    return FileError(file, f"cannot be read: {reason}", hint=f"ls -l {_quoted(file)}")


def _denied(file: Path) -> FileError:
    barred = barrier(file)
    problem = f"user {os.geteuid()} may not read it" + ("" if barred == file else f", and not enter {barred}")
    return FileError(file, problem, hint=how_to_let_in(file, os.environ))


def barrier(path: Path) -> Path:
    """Return the first folder above `path` that this user may not enter, or `path` itself if there is none."""
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=True) and os.path.lexists(folder):
            return folder
    return path


def how_to_let_in(file: Path, environ: Mapping[str, str]) -> str:
    """Return the words on how to let this user read a file without changing anything for anybody else."""
    given = environ.get("CREDENTIALS_DIRECTORY")
    if file.is_relative_to(_CREDENTIALS) or (given and file.is_relative_to(given)):
        return "systemd shows a credential to its service only; as root: sudo"
    if "INVOCATION_ID" in environ:
        # systemd sets this variable for its services. Their user may be made anew at each start, so naming it in
        # the permissions of a file would not last.
        return f"hand it in: LoadCredential={file.name}:{file} in the unit, and ${{CREDENTIALS_DIRECTORY}}/{file.name}"
    if (barred := barrier(file)) != file:
        return f"keep the file where this user may go, or let it into {barred}"
    return f"let this user read it, too: setfacl -m u:{os.geteuid()}:r {_quoted(file)}"


def _quoted(file: Path) -> str:
    return shlex.quote(str(file))
