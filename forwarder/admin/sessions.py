"""Who has logged in: random session ids in memory, each with the token that it stands for, until it expires.

A browser gets the id as a cookie, never the token. A session is worth as much as its token is at the
moment: once a reload has replaced the token, its sessions are nobody's. They do not survive a restart.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

LIFETIME = 12 * 3600.0
"""Seconds after which one logs in again: a working day."""
# Every session was opened with a right token, so this many are in use only if somebody's program logs in again and
# again. The oldest one goes.
_MOST = 256


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    ends: float


class Sessions:
    """The sessions of a daemon; `clock` returns seconds that only ever increase."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, _Session] = {}

    def open(self, token: str) -> str:
        """Return the id of a new session for the bearer of this token."""
        self._forget_old()
        number = secrets.token_urlsafe(32)
        self._open[number] = _Session(token, self._clock() + LIFETIME)
        return number

    def token(self, number: str) -> str | None:
        """Return the token that a session stands for, or None if there is no such session any more."""
        found = self._open.get(number)
        return found.token if found is not None and found.ends > self._clock() else None

    def close(self, number: str) -> None:
        """End a session, if it is still there."""
        self._open.pop(number, None)

    def _forget_old(self) -> None:
        # They are in the order in which they were opened, in which they also end.
        now = self._clock()
        for number, session in list(self._open.items()):
            if session.ends > now and len(self._open) < _MOST:
                return
            del self._open[number]
