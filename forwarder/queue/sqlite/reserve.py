"""Room on the disk that is kept back, so that a full disk does not stop the deliveries.

Delivering is what empties a full disk, but deleting what was delivered takes room before it gives any: the write-ahead
log grows first, and what is in it must fit into the file. So a file of `size` bytes stands beside the queue. When the
disk is full that file is removed: settlements have its room, and appends are refused. It is made again once twice as
much is free. With less, a disk on the edge would take events and refuse them by turns, request by request.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from forwarder.queue.sqlite.files import QueueFile

# A file system on which no room can be kept says one of these. Waiting for it would be waiting for ever.
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Reserve:
    """The file that keeps the room. It stays when the process ends."""

    def __init__(self, queue: Path, size: int) -> None:
        self._path = QueueFile.RESERVE.beside(queue)
        self._size = size

    def hold(self) -> bool:
        """Keep the room if it is there; return False while the disk has too little, or fails."""
        try:
            return self._is_held() or self._allocate()
        except OSError as error:
            self.release()
            return error.errno in _NOT_SUPPORTED

    def release(self) -> bool:
        """Give the room away; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _is_held(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        # A copy of the file may be sparse: it has the size, and keeps no room at all.
        return found.st_size == self._size and found.st_blocks * 512 >= self._size

    def _allocate(self) -> bool:
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < 2 * self._size:
            return False
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        finally:
            os.close(descriptor)
        return True
