"""The configuration file: what was read of it, and whether it says something else by now.

Files are told apart by their bytes: one that was only touched, or written anew with the same content, has not
changed. Each look costs a stat; the bytes are read again only when that has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from forwarder import files
from forwarder.config import Config
from forwarder.daemon.assembly import Files, look_at
from forwarder.errors import FileError

# The largest file that is looked at: no configuration is longer.
_MAX_BYTES = 1024 * 1024


class ConfigFile:
    """The file at `path`, which `read` reads, with the environment over it."""

    def __init__(self, path: Path, read: Callable[[], Config]) -> None:
        self.path = path
        self.name = str(path.absolute())
        self._read = read
        self._looked: Files = ()
        # The digests of what is there now, of what was read last, and of what is in force; None for no file.
        self._now: bytes | None = None
        self._last: bytes | None = None
        self._in_force: bytes | None = None
        self.loaded_at = time.time()
        """When the configuration in force was read, in seconds since the epoch."""

    def load(self) -> Config:
        """Read the configuration. Raises ConfigError."""
        # Look before reading: a file that changes while it is being read then counts as changed.
        self.look()
        self._last = self._now
        return self._read()

    def took_effect(self) -> None:
        """Note that what was read last is in force."""
        self._in_force = self._last
        self.loaded_at = time.time()

    def look(self) -> None:
        """Look at the file as it is now; this reads a disk."""
        looked = look_at([self.path])
        if looked == self._looked:
            return
        self._looked = looked
        try:
            self._now = sha256(files.read(self.path, _MAX_BYTES, secret=False)).digest()
        except FileError:
            # Whatever it is, nothing can be read from it: it may be gone, or be a pipe that was read to its end.
            self._now = None

    @property
    def is_unread(self) -> bool:
        """Whether nobody has read what is there, as of the last look; a file that is gone cannot be read."""
        return self._now is not None and self._now != self._last

    def was_put_back(self) -> bool:
        """Return whether somebody has put back what is in force, after another file was read and refused."""
        if not self.is_unread or self.is_changed:
            return False
        self._last = self._now
        return True

    @property
    def is_changed(self) -> bool:
        """Whether what is there is not what is in force, as of the last look: unread, or refused."""
        return self._now is not None and self._now != self._in_force
