"""How far our clock is ahead of that of a destination, by the `Date` of its answers (RFC 9110 §6.6.1).

One of several servers may have a clock of its own, so of a few seconds the smallest difference counts: where one of
them agrees with us, ours is right. Between two answers our own clock may be set: how far that moved it shows
at a clock that is never set.
"""

from __future__ import annotations

# Seconds for which the smallest difference counts.
_REMEMBERED = 3.0


class PeerClock:
    """What the answers of one destination say; `wall` is the clock that is compared, `steady` one that is never set."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._lead = 0.0
        self._seen = 0.0

    def saw(self, date: float, wall: float, steady: float) -> None:
        """Note that an answer that has just come is of this date, in seconds since the epoch."""
        known, ahead = self.ahead(wall, steady), wall - date
        if known is None or abs(ahead) <= abs(known) or steady - self._seen > _REMEMBERED:
            self._ahead, self._lead, self._seen = ahead, wall - steady, steady

    def ahead(self, wall: float, steady: float) -> float | None:
        """Return by how many seconds our clock is ahead just now; None before the first answer with a date."""
        return None if self._ahead is None else self._ahead + (wall - steady) - self._lead
