"""What can be told of a queue from outside, without opening or changing anything: what `forwarder check` asks."""

from __future__ import annotations

from pathlib import Path

from forwarder.queue.sqlite.files import damaged_name
from forwarder.queue.sqlite.limits import check_path, largest_file
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.recovery import begins_as_queue


class Survey:
    """The queue at a path, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check_path(self) -> None:
        """Raise StorageError where the path is too long for a queue."""
        check_path(self._path)

    def holder(self) -> str | None:
        """Return the id of the process that has the queue open, None where none has or it cannot be told."""
        return InstanceLock(self._path).holder()

    def bytes(self) -> int:
        """Return the size of its file, 0 where there is none. Raises OSError."""
        return self._path.stat().st_size if self._path.exists() else 0

    def largest_file(self) -> int | None:
        """Return how large a file of this process may become, in bytes; None where nothing bounds it."""
        return largest_file()

    def set_aside_as(self) -> Path | None:
        """Return the name under which a start would keep what is there, since it does not begin as a queue does."""
        return None if begins_as_queue(self._path) else damaged_name(self._path)
