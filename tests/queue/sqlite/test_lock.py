"""One process for one queue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forwarder.errors import QueueLockedError, StorageError
from forwarder.queue.sqlite.lock import InstanceLock


class TestLock:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        """A second instance is refused, and told who holds the queue; after a release it may have it."""
        first, second = InstanceLock(tmp_path / "queue.db"), InstanceLock(tmp_path / "queue.db")
        assert second.holder() is None
        first.acquire()
        assert second.holder() == str(os.getpid())
        with pytest.raises(QueueLockedError, match=f"process {os.getpid()}") as caught:
            second.acquire()
        assert caught.value.exit_code == 75
        assert caught.value.hint
        first.release()
        first.release()
        assert second.holder() is None
        second.acquire()
        second.release()

    def test_ends_with_its_process(self, tmp_path: Path) -> None:
        """A process that was killed holds nothing, though its file is still there."""
        script = (
            "import sys, time; from pathlib import Path; from forwarder.queue.sqlite.lock import InstanceLock;"
            "InstanceLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(100)"
        )
        path = tmp_path / "queue.db"
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            lock = InstanceLock(path)
            assert lock.holder() == str(process.pid)
            with pytest.raises(QueueLockedError, match=str(process.pid)):
                lock.acquire()
            process.kill()
        lock.acquire()
        lock.release()

    def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is named, with the command that makes it."""
        with pytest.raises(StorageError, match="No such file") as caught:
            InstanceLock(tmp_path / "missing" / "queue.db").acquire()
        assert "mkdir -p" in caught.value.hint
