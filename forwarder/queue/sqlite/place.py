"""Whether the queue's file is still in its place.

A file that was removed, renamed or replaced works on for the process that has it open, and what is
written to it then is gone with the process, or with the file that was moved away. So nothing more is
accepted, until it is back. What is queued can still be read, delivered and exported.
"""

from __future__ import annotations

from pathlib import Path

# The file, and its log: what is committed is in the log first.
_SUFFIXES = ("", "-wal")

Identity = tuple[int, int]


class Place:
    """Remembers which files were opened at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Identity] = {}

    @property
    def is_known(self) -> bool:
        """Whether there is anything to look after: a queue need not be in a file."""
        return bool(self._known)

    def forget(self) -> None:
        """Look for nothing, as long as the file is being replaced on purpose."""
        self._known = {}

    def remember(self) -> None:
        """Take what is there now for what was opened."""
        self._known = {suffix: found for suffix in _SUFFIXES if (found := self._identity(suffix)) is not None}

    def trouble(self) -> str | None:
        """Say what is wrong with what is there now, or return None."""
        for suffix, known in self._known.items():
            what = f"the queue's file {self._path}" if not suffix else f"the log of the queue, {self._path}{suffix},"
            found = self._identity(suffix)
            if found is None:
                return f"{what} is not there any more: it was removed or renamed"
            if found != known:
                return f"{what} was replaced by another file"
        return None

    def _identity(self, suffix: str) -> Identity | None:
        try:
            found = self._path.with_name(self._path.name + suffix).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
