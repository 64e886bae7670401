"""Whether the queue, or the share of one destination, is full: whether a producer is being refused or stopped.

A number of bytes cannot say that. A queue that has room for one small event refuses a request of a thousand, and one
that drops the oldest is never full. So it is full from the first producer that is turned away, until one is taken again
or a twentieth has become free: where a balancer sends nobody to a forwarder that is not ready, nobody would ever ask.

Where producers are faster than the destination, some are turned away and some are taken, in turns. That is one time of
being full, not thousands: it is over only once those who were turned away could have tried again and were not turned
away anew. What is full again soon after is still the same time: since when, and whom it has cost, go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from forwarder.errors import QueueFullError, ShareFullError
from forwarder.model import Counters, QueueStats
from forwarder.queue.base import Share

# Seconds in which nobody was turned away: those in which whoever was tries again, and some for the way. A stream that
# is stopped does so every second, a client over HTTP after five (`Retry-After`). They are few, since whoever mends the
# cause looks whether it has helped.
_QUIET_SECONDS: Final = 2.0
_QUIET_SECONDS_OVER_HTTP: Final = 7.0
# The same where nothing has become free since.
_LONG_QUIET_SECONDS: Final = 10.0
# What is full again within so many seconds has never been mended.
_AGAIN_SECONDS: Final = 60.0
# What has to be free, and to have become free: a twentieth.
_FREE: Final = 0.05


class Full(NamedTuple):
    """That the queue or a share is full, since when, and whom it has cost."""

    detail: str
    """Which bound was reached, in words for people."""
    since: float
    """Seconds since the epoch. It may have been over in between, for less than a minute."""
    refused: int
    """Requests that were answered 503 since then."""
    stopped: int
    """Streams that had to wait since then, each counted once for each time."""
    seconds: float = 0.0
    """How long it has lasted."""

    def __str__(self) -> str:
        cost = [_counted(self.refused, "request", "refused"), _counted(self.stopped, "stream", "stopped")]
        return f"{self.detail}; {', '.join(filter(None, cost))}"


class _Account:
    """One time of being full."""

    def __init__(self, detail: str, since: float, began: float) -> None:
        self.detail = detail
        self.since = since
        self.began = began
        """The same as `since`, by the clock."""
        self.refused = 0
        self.stopped = 0
        self.last = 0.0
        """When somebody was turned away last, by the clock."""
        self.quiet_until = 0.0
        """When those who were turned away have tried again, by the clock."""
        self.is_taken = False
        """Whether somebody was taken since then."""
        self.most = 0.0
        """The most that was in use since then, as a part of what there is."""

    def turned_away(self, now: float, quiet: float) -> None:
        """Take note that somebody was turned away who tries again within `quiet` seconds."""
        self.last, self.is_taken, self.most = now, False, 0.0
        self.quiet_until = max(self.quiet_until, now + quiet)

    def is_over(self, used: float | None, now: float) -> bool:
        """Say whether it is over; `used` is the part that is in use, None where that is not known."""
        if used is not None:
            self.most = max(self.most, used)
        if now < self.quiet_until:
            return False
        if self.is_taken:
            return True
        if used is None or used > 1 - _FREE:
            return False
        return used <= self.most - _FREE or now >= self.last + _LONG_QUIET_SECONDS


class Fullness:
    """What is full now: None stands for the queue as a whole, the name of a destination for its share.

    `clock` returns monotonic seconds, `now` seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now
        self._accounts: dict[str | None, _Account] = {}
        self._over: dict[str | None, tuple[float, _Account]] = {}
        """What was full a moment ago, and when that ended, by the clock."""

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def refused(self, error: QueueFullError) -> None:
        """Take note that a request was refused."""
        self._turned_away(error, _QUIET_SECONDS_OVER_HTTP).refused += 1

    def stopped(self, error: QueueFullError, *, again: bool) -> None:
        """Take note that a stream is not read from; `again` where it has tried before and still waits."""
        self._turned_away(error, _QUIET_SECONDS).stopped += not again

    def _turned_away(self, error: QueueFullError, quiet: float) -> _Account:
        name = error.destination if isinstance(error, ShareFullError) else None
        if (account := self._accounts.get(name)) is None:
            account = self._accounts[name] = self._account(name, error.message)
        account.detail = error.message
        account.turned_away(self._clock(), quiet)
        return account

    def _account(self, name: str | None, detail: str) -> _Account:
        """Return the account of what is full now: the one of a moment ago, or a new one."""
        ended, before = self._over.pop(name, (float("-inf"), None))
        if before is not None and self._clock() < ended + _AGAIN_SECONDS:
            return before
        return _Account(detail, self._now(), self._clock())

    def took(self, destinations: Iterable[str]) -> None:
        """Take note that events for these destinations were taken."""
        for name in (None, *destinations):
            if (account := self._accounts.get(name)) is not None:
                account.is_taken = True
                self._end(name, None)

    def look(self, stats: QueueStats | None, shares: dict[str, Share]) -> None:
        """End what is over by now; `stats` is None where the queue cannot say what is in use."""
        for name in list(self._accounts):
            if stats is None:
                used = None
            elif name is None:
                used = stats.bytes / stats.max_bytes
            else:
                used = _used(stats.destinations.get(name, Counters()), shares.get(name, Share()))
            self._end(name, used)

    def _end(self, name: str | None, used: float | None) -> None:
        if self._accounts[name].is_over(used, self._clock()):
            self._over[name] = self._clock(), self._accounts.pop(name)

    def now(self) -> dict[str | None, Full]:
        """Return what is full."""
        clock = self._clock()
        return {
            name: Full(found.detail, found.since, found.refused, found.stopped, clock - found.began)
            for name, found in self._accounts.items()
        }

    def trouble(self, destinations: Collection[str]) -> str | None:
        """Return why none of these destinations can accept events, or None while one can."""
        if None in self._accounts:
            return self._accounts[None].detail
        if destinations and all(name in self._accounts for name in destinations):
            return "; ".join(self._accounts[name].detail for name in sorted(destinations))
        return None


def _counted(count: int, noun: str, verb: str) -> str:
    return f"{count:,} {noun}{'s' if count > 1 else ''} {verb}" if count else ""


def _used(counters: Counters, share: Share) -> float:
    """Return which part of its share a destination uses; nothing of a share that there is no more."""
    return (counters.queued_bytes + counters.dead_bytes) / share.max_bytes if share.max_bytes else 0.0
