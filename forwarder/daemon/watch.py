"""Early warnings about destinations: certificates that end, clocks that differ, keys that are refused.

A look costs no I/O. What it finds are conditions, so it is told alike by the log, the status, the metrics and the
dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from forwarder.destination.base import Certificate, Outlook
from forwarder.model import QueueStats
from forwarder.observe.conditions import Conditions

# Seconds before the end of a certificate from which on it is told: two weeks, in which somebody comes to do something.
_ENDS_SOON = 14 * 86_400.0
# Seconds by which clocks may differ.
_CLOCK_SECONDS = 60.0


class Watched(NamedTuple):
    """One destination, as it is just now."""

    name: str
    outlook: Outlook
    key: str
    """The name of its key."""
    key_refused: int | None
    """The status by which the key was refused the last time, if nothing has been taken since."""
    has_taken: bool
    """Whether anything was taken with this key since it is in use."""


class Watch:
    """Looks at all destinations in each round; `now` returns seconds since the epoch."""

    def __init__(
        self, destinations: Callable[[], Iterable[Watched]], conditions: Conditions, now: Callable[[], float]
    ) -> None:
        self._destinations = destinations
        self._conditions = conditions
        self._now = now
        self._known: set[str] = set()
        # The last key of each destination with which something was taken: whatever is refused later, it was known.
        self._good: dict[str, str] = {}

    def look(self, _stats: QueueStats | None) -> None:
        """Look at what the destinations have learned."""
        found = list(self._destinations())
        for gone in self._known - {one.name for one in found}:
            self._conditions.forget(gone)
            self._good.pop(gone, None)
        self._known = {one.name for one in found}
        for one in found:
            if one.has_taken:
                self._good[one.name] = one.key
            self._conditions.set("certificate.expires", ending(one.outlook.certificates, self._now()), one.name)
            self._conditions.set("clock.off", clock_off(one.outlook.clock_ahead), one.name)
            is_new = self._good.get(one.name) != one.key
            self._conditions.set("key.refused", key_refused(one.key, one.key_refused) if is_new else None, one.name)


def ending(certificates: Sequence[Certificate], now: float) -> str | None:
    """Return what ends within two weeks, or has ended; None where nothing does."""
    soon = sorted((found for found in certificates if found.ends - now < _ENDS_SOON), key=lambda found: found.ends)
    return "; ".join(f"{found.what} {_when(found, now)}" for found in soon) or None


def _when(certificate: Certificate, now: float) -> str:
    # Whatever is in a certificate is a time that dates can be computed with.
    at = f"{datetime.fromtimestamp(certificate.ends, UTC):%Y-%m-%d %H:%M} UTC"
    left = certificate.ends - now
    if left <= 0:
        return f"has ended, at {at}" if certificate.is_exact else "has ended"
    return f"ends in {left / 86_400:.0f} days, at {at}" if left >= 2 * 86_400 else f"ends within two days, at {at}"


def clock_off(ahead: float | None) -> str | None:
    """Return how far the clocks differ; None where they agree, as far as is known."""
    if ahead is None or abs(ahead) <= _CLOCK_SECONDS:
        return None
    return f"the clock here is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of the destination"


def key_refused(key: str, status: int | None) -> str | None:
    """Return that a key is not known at the destination; None where it was not refused."""
    if status is None:
        return None
    return f"the key {key} was answered {status}, and nothing has been taken since it is in use"
