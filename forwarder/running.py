"""The note that a running daemon writes, so that commands find it even if its configuration file is broken.

There is a note for each configuration file, in the runtime folder of the daemon. It is believed only if nobody
untrusted can have written it. That is so if neither the group nor others can write to the file and its folder,
and if both belong to root, to the user who reads it or, when root reads it, to a user to whom root has given
the folder around it. The note is not a lock: a daemon that was killed leaves one behind, with addresses at which
nobody answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

DEFAULT_FOLDER: Final = Path("/run/forwarder")
# The runtime folder may be shared with others, so the note is in a folder of its own, to which only we can write.
_FOLDER: Final = "daemon"
# Even the note of a daemon with a thousand addresses is shorter than this.
_MAX_BYTES: Final = 256 * 1024

log = structlog.get_logger(__name__)


class Running(msgspec.Struct, frozen=True):
    """The content of a note: the daemon's process, its addresses, and the files with the tokens for them."""

    pid: int
    admin: list[str]
    http: list[str]
    stream: list[str]
    admin_token_file: str | None = None
    ingest_token_file: str | None = None
    viewer: list[str] = []
    """Where viewers look, which commands do not use."""


class Note:
    """The note of one daemon, which runs with this configuration file."""

    def __init__(self, config: Path, environ: Mapping[str, str]) -> None:
        self._name = _name(config)
        self._environ = environ
        self._path: Path | None = None

    def write(self, running: Running) -> None:
        """Write the note. If there is no place for it, commands will need the configuration to find the daemon."""
        for folder in _folders(self._environ):
            try:
                self._write(folder, msgspec.json.encode(running))
            except OSError as error:
                log.debug("running.not_noted", folder=str(folder), reason=error.strerror)
            else:
                return

    def _write(self, folder: Path, data: bytes) -> None:
        folder.mkdir(mode=0o755, exist_ok=True)
        if not _is_ours(folder.lstat()):
            raise PermissionError(0, "others can write there")
        unfinished = folder / f"{self._name}.new"
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            # Readable by everybody, whatever the umask is, because the note contains no secrets.
            os.fchmod(descriptor, 0o644)
            file.write(data)
        self._path = unfinished.with_name(self._name)
        unfinished.replace(self._path)

    def remove(self) -> None:
        """Remove the note."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def find(config: Path, environ: Mapping[str, str]) -> Running | None:
    """Return the note of the daemon that runs with this configuration file, if there is one that can be trusted."""
    for folder in _folders(environ):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            return _read(folder / _name(config))
    return None


def _read(path: Path) -> Running:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _is_believed(found, path.parent.lstat(), path.parent.parent.stat()):
            raise PermissionError(0, "others can have written it")
        return msgspec.json.decode(os.read(descriptor, _MAX_BYTES), type=Running)
    finally:
        os.close(descriptor)


def _is_believed(file: os.stat_result, folder: os.stat_result, around: os.stat_result) -> bool:
    if not (_is_closed(file) and _is_closed(folder) and file.st_uid == folder.st_uid):
        return False
    trusted = {0, os.geteuid()}
    # Root made /run/forwarder, or gave it to the user of the service, so root may believe that user's note.
    if os.geteuid() == 0 and _is_closed(around):
        trusted.add(around.st_uid)
    return file.st_uid in trusted


def _is_ours(folder: os.stat_result) -> bool:
    return stat.S_ISDIR(folder.st_mode) and folder.st_uid == os.geteuid() and _is_closed(folder)


def _is_closed(found: os.stat_result) -> bool:
    return not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders for notes: systemd's runtime folder of the service, the usual one, and the user's."""
    # There may be several, separated by colons (systemd.exec(5)).
    if given := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        yield Path(given, _FOLDER)
    yield DEFAULT_FOLDER / _FOLDER
    if user := environ.get("XDG_RUNTIME_DIR"):
        yield Path(user, f"forwarder-{_FOLDER}")


def _name(config: Path) -> str:
    """Return the name of the note for a configuration file, from its path; links in it may change, so they stay."""
    return hashlib.sha256(os.fsencode(os.path.abspath(config))).hexdigest()[:16] + ".json"  # noqa: PTH100
