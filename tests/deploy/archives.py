"""Archives of fresh Debians in the user's cache folder; each is made the first time that it is wanted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# Seconds.
_LONGEST = 600


def debian(
    name: str, suite: str, packages: Sequence[str], finish: Callable[[Path], None], *, without: Sequence[str] = ()
) -> Path:
    """Return the archive of a Debian on which `finish` has worked, `without` what is in some folders."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "event-forwarder"
    archive = cache / f"debian-{suite}-{name}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        # Several processes of tests may want it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make(archive, suite, packages, finish, without)
    return archive


def _make(
    archive: Path, suite: str, packages: Sequence[str], finish: Callable[[Path], None], without: Sequence[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as unfinished, _in_memory() as root:
        call("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(root))
        finish(root)
        made = Path(unfinished, "made.tar")
        call("tar", "-C", str(root), *[f"--exclude=./{folder}/*" for folder in without], "-cf", str(made), ".")
        made.replace(archive)


def call(*words: str) -> None:
    """Run a command; what it printed is the error if it fails."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=_LONGEST
    )
    assert done.returncode == 0, f"{words[0]} failed:\n{done.stdout[-4000:]}"


@contextlib.contextmanager
def _in_memory() -> Iterator[Path]:
    """Return a folder in memory: dpkg makes tens of thousands of files, and syncs many of them."""
    with tempfile.TemporaryDirectory(prefix="fwd-") as folder:
        call("mount", "-t", "tmpfs", "-o", "size=4g", "fwd", folder)
        try:
            yield Path(folder)
        finally:
            call("umount", folder)
