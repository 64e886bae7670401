"""Whether the queue's file is still in its place.

A file that was removed, renamed or replaced works on for the process that has it open, and what is
written to it then is gone with the process, or with the file that was moved away. So nothing more is
accepted, until it is back. What is queued can still be read, delivered and exported.
"""

from __future__ import annotations

from pathlib import Path

from forwarder.queue.sqlite.files import QueueFile

_WATCHED = (QueueFile.DATABASE, QueueFile.LOG)

Identity = tuple[int, int]


class Place:
    """Remembers which files were opened at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[QueueFile, Identity] = {}

    @property
    def is_known(self) -> bool:
        """Whether there is anything to look after: a queue need not be in a file."""
        return bool(self._known)

    def forget(self) -> None:
        """Look for nothing, as long as the file is being replaced on purpose."""
        self._known = {}

    def remember(self) -> None:
        """Take what is there now for what was opened."""
        self._known = {file: found for file in _WATCHED if (found := self._identity(file)) is not None}

    def trouble(self) -> str | None:
        """Say what is wrong with what is there now, or return None."""
        for file, known in self._known.items():
            path = file.beside(self._path)
            what = f"the log of the queue, {path}," if file is QueueFile.LOG else f"the queue's file {path}"
            found = self._identity(file)
            if found is None:
                return f"{what} is not there any more: it was removed or renamed"
            if found != known:
                return f"{what} was replaced by another file"
        return None

    def _identity(self, file: QueueFile) -> Identity | None:
        try:
            found = file.beside(self._path).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
