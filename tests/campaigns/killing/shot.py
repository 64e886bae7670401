"""When a process is killed: so long after it was seen, from outside, to do a certain thing.

A moment is a thing that can be seen and a range of delays; a shot is one of them with everything
drawn. Delays are drawn over orders of magnitude, as what is interesting may last for microseconds
or for a disk's sync.
"""

from __future__ import annotations

import enum
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

# Below this, a thread that waits would take longer than the wait; in seconds.
_AT_ONCE = 30e-6
# Seconds between two looks at a file.
_LOOK = 100e-6

_Version = tuple[int, int, int]


class Sight(enum.Enum):
    """What can be seen of a running forwarder."""

    SPAWNED = enum.auto()
    FILE = enum.auto()
    """A file was written: which one, the moment says."""
    READY = enum.auto()
    WRITTEN = enum.auto()
    """A producer has written events, and has no answer yet."""
    ACCEPTED = enum.auto()
    """A producer has read an answer that accepts events."""
    HEAD = enum.auto()
    """The receiver has the head of a request."""
    BODY = enum.auto()
    """The receiver has all of a request, and has not answered."""
    DELIVERED = enum.auto()
    """The receiver has answered 200."""
    REJECTED = enum.auto()
    """The receiver has answered 400 or 413."""
    DEFERRED = enum.auto()
    """The receiver has answered 429 or 5xx."""
    STOPPING = enum.auto()
    """SIGTERM was sent."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A kind of moment: the shot falls between `delays` seconds after one of the first `most` sights."""

    name: str
    sight: Sight
    delays: tuple[float, float]
    weight: int
    most: int = 1
    file: str = ""
    number: signal.Signals = signal.SIGKILL


CREATING = Moment("creating the queue", Sight.FILE, (1e-6, 30e-3), 0, most=3, file="queue.db")
STARTING = Moment("starting", Sight.SPAWNED, (10e-3, 2.0), 2)
STOPPING = Moment("stopping (SIGTERM)", Sight.STOPPING, (10e-6, 0.3), 4)
LEAVING = Moment("second SIGTERM", Sight.STOPPING, (1e-3, 0.1), 1, number=signal.SIGTERM)
RUNNING = "running"
MOMENTS = (
    STARTING,
    Moment("opening the queue", Sight.FILE, (10e-6, 0.1), 3, file="queue.db.lock"),
    Moment("ready", Sight.READY, (1e-6, 50e-3), 2),
    Moment(RUNNING, Sight.READY, (50e-3, 1.0), 2),
    Moment("committing", Sight.WRITTEN, (1e-6, 10e-3), 4, most=120),
    Moment("accepted", Sight.ACCEPTED, (1e-6, 5e-3), 4, most=120),
    Moment("sending", Sight.HEAD, (1e-6, 5e-3), 3, most=60),
    Moment("sent", Sight.BODY, (1e-6, 5e-3), 3, most=60),
    Moment("answered 200", Sight.DELIVERED, (1e-6, 10e-3), 5, most=60),
    Moment("answered 400, 413", Sight.REJECTED, (1e-6, 10e-3), 3, most=12),
    Moment("answered 429, 5xx", Sight.DEFERRED, (1e-6, 50e-3), 2, most=12),
    Moment("checkpoint", Sight.FILE, (1e-6, 5e-3), 4, most=6, file="queue.db"),
    STOPPING,
    LEAVING,
)


class Shot:
    """One kill: armed with a process, it goes off after the `count`-th sight of its moment.

    With `from_ready` it begins to count when the process is ready: before, a backlog may be sent already.
    """

    def __init__(self, moment: Moment, count: int, delay: float, *, from_ready: bool = False) -> None:
        self.moment = moment
        self.delay = delay
        self._left = count
        self._is_counting = not from_ready
        self._target: int | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    @classmethod
    def drawn(cls, chance: Random, moment: Moment) -> Shot:
        """Draw which sight it is, and the delay."""
        shortest, longest = moment.delays
        delay = shortest * (longest / shortest) ** chance.random()
        from_ready = moment.most > 1 and moment is not CREATING and chance.random() < 0.75
        return cls(moment, chance.randint(1, moment.most), delay, from_ready=from_ready)

    def arm(self, pid: int, folder: Path) -> None:
        """Aim at a process that was just started; `folder` is where its queue is."""
        # A number can pass on to another process, a descriptor cannot.
        self._target = os.pidfd_open(pid)
        if self.moment.sight is Sight.FILE:
            file = folder / self.moment.file
            threading.Thread(target=self._watch, args=(file, _version(file)), daemon=True).start()

    def saw(self, sight: Sight) -> None:
        """Take note of what was seen; may be called from any thread."""
        with self._lock:
            self._is_counting = self._is_counting or sight is Sight.READY
            if sight is not self.moment.sight or self._left == 0 or not self._is_counting:
                return
            self._left -= 1
            if self._left:
                return
        if self.delay < _AT_ONCE:
            self.fire(self.moment.number)
        else:
            threading.Thread(target=self._fire_late, daemon=True).start()

    def fire(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill it now."""
        with self._lock:
            if self._target is not None:
                # It may have ended by itself.
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._target, number)

    def disarm(self) -> None:
        """Let go of the process, which has ended."""
        self._over.set()
        with self._lock:
            if self._target is not None:
                os.close(self._target)
                self._target = None

    def _fire_late(self) -> None:
        # `time.sleep` keeps to microseconds; a wait on a lock with a timeout does not.
        time.sleep(self.delay)
        self.fire(self.moment.number)

    def _watch(self, file: Path, before: _Version | None) -> None:
        while not self._over.is_set():
            if (now := _version(file)) != before:
                before = now
                self.saw(Sight.FILE)
            time.sleep(_LOOK)


def _version(file: Path) -> _Version | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
