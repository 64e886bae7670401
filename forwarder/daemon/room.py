"""Look after the room that is left in the queue and on its disk: who is turned away now, and what is full soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from forwarder.model import INVALID, QueueStats
from forwarder.observe.base import Observer
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Notice
from forwarder.observe.forecast import Forecast
from forwarder.queue.base import Share
from forwarder.queue.fullness import Full, Fullness

# Seconds between two lines of the log that say that the same is full; each may be followed by one that it is over.
_STILL_SECONDS: Final = 60.0
# Seconds of readings from which something can be foreseen. Others write to the disk, too, and delete it again.
_LEAST_SECONDS: Final = 20.0
_LEAST_SECONDS_OF_DISK: Final = 60.0
_DISK: Final = ""
"""Stands for the disk among the forecasts; no destination has an empty name."""


@dataclass(slots=True)
class _Line:
    """The last line of the log that said that something is full, and whether it `is_open`: no end was told since."""

    at: float
    is_open: bool = True

    def is_old(self, now: float) -> bool:
        return now >= self.at + _STILL_SECONDS


class Room:
    """Tells, in each round, what is full and what will be.

    `shares` returns what each destination may use of the queue; `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        fullness: Fullness,
        conditions: Conditions,
        observer: Observer,
        shares: Callable[[], dict[str, Share]],
        clock: Callable[[], float],
    ) -> None:
        self._fullness = fullness
        self._conditions = conditions
        self._observer = observer
        self._shares = shares
        self._clock = clock
        self._full = frozenset[str | None]()
        """What was full in the last round."""
        self._lines: dict[str | None, _Line] = {}
        self._forecasts: dict[str | None, Forecast] = {}

    @property
    def full(self) -> Mapping[str | None, Full]:
        """What is full now: a destination's share, or for None the queue as a whole."""
        return self._fullness.now()

    @property
    def full_in_seconds(self) -> float | None:
        """When the queue will be full, at the rate of now; None where it does not grow, or that is not known."""
        forecast = self._forecasts.get(None)
        return None if forecast is None else forecast.seconds

    def look(self, stats: QueueStats | None) -> None:
        """Look at the accounts of this moment."""
        self._fullness.look(stats, self._shares())
        self._tell_full(self._fullness.now())
        if stats is not None:
            self._foresee(stats)

    # --- what is full ----------------------------------------------------------------------------

    def _tell_full(self, full: dict[str | None, Full]) -> None:
        for name in self._full - full.keys():
            self._tell_full_of(name, None, is_told=self._lines[name].is_open)
            self._lines[name].is_open = False
        now = self._clock()
        self._lines = {name: line for name, line in self._lines.items() if name in full or not line.is_old(now)}
        for name, found in full.items():
            # A queue that is full by turns must not fill the log: a line of any kind opens it once a minute at most.
            is_due = name not in self._lines or self._lines[name].is_old(now)
            self._tell_full_of(name, found, is_told=is_due)
            if is_due:
                self._lines[name] = _Line(now)
                if name in self._full:
                    self._observer.saw(Notice("queue.still_full", _details(name, found)))
        self._full = frozenset(full)

    def _tell_full_of(self, name: str | None, found: Full | None, *, is_told: bool) -> None:
        detail, since = (None, None) if found is None else (str(found), found.since)
        if name == INVALID:
            self._conditions.set("invalid.full", detail, name, since=since, is_told=is_told)
        else:
            self._conditions.set("queue.full", detail, name, since=since, is_told=is_told)

    # --- what will be full -----------------------------------------------------------------------

    def _foresee(self, stats: QueueStats) -> None:
        now, rooms = self._clock(), {name: (room, words) for name, room, words in self._rooms(stats)}
        for name in self._forecasts.keys() - rooms.keys():
            del self._forecasts[name]
            self._tell_soon(name, None)
        for name, (room, words) in rooms.items():
            if (forecast := self._forecasts.get(name)) is None:
                least = _LEAST_SECONDS_OF_DISK if name == _DISK else _LEAST_SECONDS
                forecast = self._forecasts[name] = Forecast(least)
            forecast.see(now, room)
            # What is full already has a condition of its own.
            is_soon = forecast.is_soon and name not in self._full
            self._tell_soon(name, f"{words}, full {_when(forecast.seconds)}" if is_soon else None)

    def _rooms(self, stats: QueueStats) -> Iterator[tuple[str | None, int, str]]:
        """Yield whatever can become full, how many bytes are left of it, and that in words."""
        yield None, stats.max_bytes - stats.bytes, _used(stats.bytes, stats.max_bytes)
        for name, share in self._shares().items():
            if share.max_bytes is not None and name != INVALID and name in stats.destinations:
                counters = stats.destinations[name]
                used = counters.queued_bytes + counters.dead_bytes
                yield name, share.max_bytes - used, _used(used, share.max_bytes)
        # A disk that is full already, or fails, has a condition of its own.
        if stats.disk_free_bytes is not None and stats.failing is None:
            yield _DISK, stats.disk_free_bytes, f"{_size(stats.disk_free_bytes)} are free on the disk of the queue"

    def _tell_soon(self, name: str | None, detail: str | None) -> None:
        if name == _DISK:
            self._conditions.set("disk.fills_soon", detail)
        else:
            self._conditions.set("queue.fills_soon", detail, name)


def _details(name: str | None, full: Full) -> dict[str, object]:
    about = {} if name is None else {"destination": name}
    seconds = round(full.seconds, 3)
    return {**about, "detail": full.detail, "seconds": seconds, "refused": full.refused, "stopped": full.stopped}


def _used(used: int, most: int) -> str:
    return f"{_size(used)} of {_size(most)} are in use"


def _size(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):,.1f} MiB"


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "soon, if it goes on as in the last minutes"
    return f"in about {seconds / 60:.0f} min" if seconds >= 90 else f"in about {seconds:.0f} s"
