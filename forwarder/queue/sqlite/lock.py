"""One process for one queue: a lock file beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forwarder.errors import QueueLockedError, StorageError
from forwarder.queue.sqlite.files import QueueFile
from forwarder.queue.sqlite.folder import folder_error

# A lock file holds a process id and a number of events. Each has a fixed length, so that writing one in place never
# needs the file to be cut, and nobody ever reads half of one.
_HOLDER_BYTES = 32
_NOTE_BYTES = 32
# Where SQLite's locks are: a byte for a process that waits, one for a process that will write, and those of readers.
_SQLITE_LOCK = 0x40000000
_SQLITE_LOCK_BYTES = 2 + 510


class InstanceLock:
    """A lock file beside the queue that one process holds for as long as it lives (flock(2)).

    It also says how many events were accepted. That number is noted after each commit and never synced, so it is never
    ahead of the queue. A queue that knows of fewer events when it starts has therefore lost some, perhaps with its log.
    """

    def __init__(self, path: Path) -> None:
        self._path = QueueFile.LOCK.beside(path)
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises QueueLockedError, or StorageError where the folder cannot be used."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise folder_error(self._path.parent, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, _HOLDER_BYTES).decode(errors="replace").strip()
            os.close(descriptor)
            raise _locked(self._path, f" (process {holder})" if holder else "") from None
        self._descriptor = descriptor
        self._write(str(os.getpid()), _HOLDER_BYTES, 0)

    def is_gone(self) -> bool:
        """Say whether the file in its place is not the one that is locked."""
        if self._descriptor is None:
            return False
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def restore(self) -> bool:
        """Lock the file that is in its place, or a new one; return False where that cannot be done now."""
        old, noted = self._descriptor, self.noted()
        try:
            self.acquire()
        except (QueueLockedError, StorageError):
            return False
        self.note(noted)
        if old is not None:
            os.close(old)
        return True

    def note(self, accepted: int) -> None:
        """Note how many events were accepted, by a queue that begins to count with its file."""
        self._write(str(accepted), _NOTE_BYTES, _HOLDER_BYTES)

    def noted(self) -> int:
        """Return how many events are noted as accepted, 0 where that cannot be told."""
        if self._descriptor is None:
            return 0
        try:
            found = os.pread(self._descriptor, _NOTE_BYTES, _HOLDER_BYTES).strip()
        except OSError:
            return 0
        return int(found) if found.isdigit() else 0

    def _write(self, text: str, size: int, at: int) -> None:
        # On a full disk nothing can be written. The lock holds without what stands in it.
        if self._descriptor is not None:
            with suppress(OSError):
                os.pwrite(self._descriptor, f"{text}\n".encode().ljust(size), at)

    def holder(self) -> str | None:
        """Return the process id of who holds the lock now, or None where nobody does or it cannot be told."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return os.read(descriptor, _HOLDER_BYTES).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        """Let go of the lock; the file stays, as removing it would race with the next holder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def locked_as_by_sqlite(database: Path) -> Iterator[None]:
    """Hold SQLite's own lock of a database (https://sqlite.org/fileformat2.html#the_lock_byte_page).

    A lock file can be removed; this lock is on the file itself. The database must not be open in this process:
    the lock of its connection would be lost with this one. Raises QueueLockedError or OSError.
    """
    try:
        descriptor = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SQLITE_LOCK_BYTES, _SQLITE_LOCK)
        except (BlockingIOError, PermissionError):
            raise _locked(database) from None
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, holder: str = "") -> QueueLockedError:
    return QueueLockedError(
        f"another instance{holder} holds the queue {path.parent}",
        hint="stop it first, or give this one a queue.path of its own",
    )
