"""Which backends of the queue there are: the type of its settings says which one a queue has.

Nobody else knows one: the daemon opens the queue here, `forwarder check` looks at it from here, and all others are
given the port that they need (see `base`). A new backend is a module or a folder beside `sqlite`, its settings in the
configuration, and a line in `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from forwarder.config import SqliteConfig
from forwarder.observe.base import Observer
from forwarder.queue.base import Queue
from forwarder.queue.sqlite import backend as sqlite


class Backend(NamedTuple):
    """What can be done with the settings of a queue; each function is given them."""

    open: Callable[[Any, Sequence[str], Observer], Awaitable[Queue]]
    """Open the queue, or begin one; the names of destinations help to rebuild a damaged one, and the
    observer is told what happens to it. Raises ForwarderError."""
    describe: Callable[[Any], Mapping[str, str]]
    """What the log says of it when the daemon starts; `queue` is where it is."""
    holder: Callable[[Any], str | None]
    """The id of the process that has the queue open, empty where none has, and None where that cannot be told."""
    check: Callable[[Any], str]
    """Look at it as `forwarder check` does: return what there is, or raise ForwarderError or OSError."""
    notes: Sequence[Callable[[Any], str | None]] = ()
    """Return what is worth knowing though the daemon could start, None where there is nothing. Raise OSError."""
    fixed: Sequence[str] = ()
    """The settings beside `backend` that cannot change while the daemon runs."""


Backends: TypeAlias = Mapping[type[Any], Backend]

BACKENDS: Backends = {
    SqliteConfig: Backend(
        *(sqlite.open_queue, sqlite.describe, sqlite.holder, sqlite.check),
        notes=(sqlite.note_of_damage, sqlite.note_of_space),
        fixed=("path", "max_bytes"),
    ),
}


def changed_for_good(before: Any, after: Any, backends: Backends = BACKENDS) -> list[str]:
    """Return the settings that differ and that only a start can change."""
    if type(before) is not type(after):
        return ["backend"]
    return [name for name in backends[type(before)].fixed if getattr(before, name) != getattr(after, name)]
