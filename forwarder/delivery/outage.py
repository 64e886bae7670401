"""For how long a destination has taken nothing, and what of that is news.

An outage begins with the first attempt after which the destination has to be let alone, and ends with the first batch
that is taken, or when nothing waits any more. An operator is told of both ends, once of each kind of wait, as what has
to be done differs, and then every ten minutes: a destination that is down for a night does not fill the log. Nor does
one that fails again and again for a moment: each kind of wait is told once a minute, and an outage that was left out
because of that, once it has lasted for ten seconds.

It is known by the name of the destination and outlives its pump: a key that is replaced begins a new pump, and it is
the outage before it that the key was to end.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

# Seconds between two lines about an outage that goes on.
_TELL_SECONDS = 600.0
# Seconds in which a kind of wait is told once, in however many outages it comes.
_QUIET_SECONDS = 60.0
# Seconds after which an outage is told that was left out at first.
_UNTOLD_SECONDS = 10.0


@dataclass(slots=True)
class Outage:
    """The outage of one destination, if there is one just now; `now` is monotonic everywhere."""

    attempts: int = 0
    """Attempts that failed since it began."""
    is_told: bool = False
    """Whether anybody was told of it, so that its end is worth telling, too."""
    _began: float | None = None
    _told_at: float = 0.0
    _kind: Hashable = None
    # When each kind of wait was told last, and the kinds that were told in this outage.
    _lately: dict[Hashable, float] = field(default_factory=dict)
    _kinds: set[Hashable] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self._began is not None

    def seconds(self, now: float) -> float:
        """Return for how long it has lasted; 0 where there is none."""
        return 0.0 if self._began is None else now - self._began

    def failed(self, kind: Hashable, now: float) -> bool:
        """Note an attempt that failed, after which there is this kind of wait; return whether that is news."""
        if self._began is None:
            self._began, self._told_at = now, now
        self.attempts += 1
        self._kind = kind
        is_news = kind not in self._kinds and now - self._lately.get(kind, float("-inf")) >= _QUIET_SECONDS
        if is_news:
            self._tell(now)
        return is_news

    def is_due(self, now: float) -> bool:
        """Return whether it is time to say that it goes on; then that counts as said."""
        seconds = _TELL_SECONDS if self.is_told else _UNTOLD_SECONDS
        if self._began is None or now - self._told_at < seconds:
            return False
        self._tell(now)
        self._told_at = now
        return True

    def _tell(self, now: float) -> None:
        self.is_told = True
        self._kinds.add(self._kind)
        self._lately[self._kind] = now

    def end(self) -> None:
        """Note that it is over."""
        self.attempts, self.is_told, self._began = 0, False, None
        self._kinds.clear()
