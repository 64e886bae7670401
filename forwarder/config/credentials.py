"""Tokens and passphrases, which come from files only: one line of text each.

White space at either end of the file is not part of it: editors end a file with a newline, and no HTTP header can begin
or end with a blank.
"""

from __future__ import annotations

import re
from pathlib import Path

from forwarder import files
from forwarder.errors import ConfigError, FileError, Problem

# A token is tens of bytes; more than this is another file, named by mistake.
_MAX_BYTES = 16 * 1024
_visible = re.compile("[!-~]+").fullmatch


def secret(path: Path) -> str:
    """Return the line of text in a file that is kept as a secret (see `files`), without white space at its ends.

    Raises ConfigError.
    """
    try:
        content = files.read(path, _MAX_BYTES, secret=True)
    except FileError as error:
        raise _refused(path, error.problem, f"Hint: {error.hint}") from None
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise _refused(path, "is not UTF-8", "Write the secret as text.") from None
    if not text:
        raise _refused(path, "is empty", "Write the secret into it, on one line.")
    if not text.isprintable():
        raise _refused(path, "holds a line break or a control character", "Write one line: the secret.")
    return text


def token(path: Path) -> str:
    """Return the bearer token in a file, as HTTP can carry it (RFC 6750, section 2.1). Raises ConfigError."""
    text = secret(path)
    if not _visible(text):
        problem = "holds a blank or a letter outside ASCII, which no HTTP header carries unchanged"
        raise _refused(path, problem, "Make one of letters and digits: openssl rand -hex 32")
    return text


def _refused(path: Path, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", problem, remedy)])
