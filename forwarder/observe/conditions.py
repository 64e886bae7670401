"""What an operator should look at just now: each condition from the moment it begins until it ends.

The log, the metrics, the status and the dashboard all tell of the same conditions, so that none of them can say
something else than the others. Whoever finds out that a certificate ends soon, or that the queue is full, says so here
as often as it looks; only a beginning and an end become facts. What the queue tells by lines of its own, because it
cannot wait for anybody to look, is a condition from the one line to the other.
"""

from __future__ import annotations

from collections.abc import Callable

from forwarder.observe.base import Observer
from forwarder.observe.facts import Condition, ConditionChanged, Fact, Notice

# What begins with a line of its own, by the line that ends it.
_ENDED_BY = {"queue.storage_recovered": "queue.storage_failing", "queue.file_back": "queue.file_gone"}
_BEGUN = frozenset(_ENDED_BY.values())


class Conditions:
    """The conditions that hold now, and an observer of what begins with a line of its own.

    To be used on the event loop; `now` returns seconds since the epoch.
    """

    def __init__(self, observer: Observer, now: Callable[[], float]) -> None:
        self._observer = observer
        self._now = now
        self._active: dict[tuple[str, str | None], Condition] = {}

    def set(
        self,
        key: str,
        detail: str | None,
        destination: str | None = None,
        *,
        since: float | None = None,
        is_told: bool = True,
    ) -> None:
        """Say that a condition holds, with its `detail` of this moment, or with None that it does not.

        It began when it was first said, or `since` a time that is known better, in seconds since the epoch. Where
        it comes and goes, whoever says so may keep a beginning or an end out of the log: it then `is_told` False.
        """
        before = self._active.get((key, destination))
        if detail is None:
            if before is not None:
                del self._active[key, destination]
                seconds = max(0.0, self._now() - before.since)
                if is_told:
                    self._observer.saw(ConditionChanged(key, destination, False, before.detail, seconds))
            return
        if since is None:
            since = self._now() if before is None else before.since
        self._active[key, destination] = Condition(key, destination, since, detail)
        if before is None and is_told:
            self._observer.saw(ConditionChanged(key, destination, True, detail))

    def saw(self, fact: Fact) -> None:
        """Take note of a line that begins or ends a condition."""
        if not isinstance(fact, Notice):
            return
        if fact.key in _BEGUN:
            condition = Condition(fact.key, None, self._now(), str(fact.details["reason"]))
            self._active.setdefault((fact.key, None), condition)
        elif fact.key in _ENDED_BY:
            self._active.pop((_ENDED_BY[fact.key], None), None)

    def forget(self, destination: str) -> None:
        """End all that is about a destination, which is no longer configured."""
        for key, about in list(self._active):
            if about == destination:
                self.set(key, None, about)

    def active(self) -> list[Condition]:
        """Return what holds now, the oldest first."""
        return sorted(self._active.values(), key=lambda condition: condition.since)
