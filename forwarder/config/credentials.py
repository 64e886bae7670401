"""Tokens and passphrases, which come from files only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from forwarder.errors import ConfigError, Problem

# A token is tens of bytes; more than this is another file, named by mistake.
_MAX_BYTES = 16 * 1024


def secret(path: Path) -> str:
    """Return the content of a token or passphrase file without the newline at its end.

    Raises ConfigError if it cannot be read, if others may read it, or if it is not one line of text.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, "there is no such file", "Write the secret into it, or correct the path.") from None
    except PermissionError:
        remedy = f"Let this user read it: chown {os.geteuid()} {path}."
        raise _refused(path, f"user id {os.geteuid()} may not read the file", remedy) from None
    except OSError as error:
        raise _refused(path, f"the file cannot be read: {error.strerror}", "Correct the path.") from None
    if mode & 0o007:
        raise _refused(path, f"everybody may use this secret (mode {mode:04o})", f"Run: chmod o= {path}")
    if len(content) > _MAX_BYTES:
        raise _refused(path, "the file is larger than 16 KiB", "Name a file with one line: the secret.")
    return _line(path, content)


def _line(path: Path, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _refused(path, "the file is not UTF-8", "Write the secret as text.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise _refused(path, "the file is empty", "Write the secret into it, on one line.")
    if not text.isprintable():
        raise _refused(path, "the file holds a line break or a control character", "Write one line: the secret.")
    return text


def _refused(path: Path, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", problem, remedy)])
