"""Since when each destination is as it is: working, failing, or paused.

It is found out by looking, which is done in every round and for every answer. From the first failure to the next
success a destination is failing, whether it is backing off, holding or being tried: that is how long its events
have been stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from forwarder.model import State

_Standing = Literal["working", "failing", "paused"]


class Since:
    """Remembers when each destination was first seen to be as it is; `now` returns seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[str, tuple[_Standing, float | None]] = {}

    def look(self, name: str, state: State, failures: int, failing: float = 0.0) -> float | None:
        """Return since when it is so; None for a destination that was paused before the forwarder started.

        `failing` is for how many seconds an outage has lasted, if there is one: it began before it was looked at.
        """
        standing = _standing(state, failures)
        before = self._known.get(name)
        if before is None or before[0] != standing:
            known = before is not None or standing != "paused"
            self._known[name] = (standing, self._now() - (failing if standing == "failing" else 0.0) if known else None)
        return self._known[name][1]

    def keep(self, names: Collection[str]) -> None:
        """Forget all other destinations."""
        self._known = {name: known for name, known in self._known.items() if name in names}


def _standing(state: State, failures: int) -> _Standing:
    if state is State.PAUSED:
        return "paused"
    return "failing" if failures or state in {State.BACKING_OFF, State.HOLDING} else "working"
