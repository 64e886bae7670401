"""What was refused at the ways in, summed up by way, reason and peer: for the log, and for whoever asks.

Producers that are refused may come a thousand times a second. So each way, reason and peer has one line when it
begins and one a minute as long as it goes on, and what is kept has a limit, whatever clients do: beyond it,
the one that has been quiet for longest is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forwarder.observe.base import Observer
from forwarder.observe.facts import Fact, Notice, Peer, Refused, Way

# Seconds between two lines about the same.
_TELL_SECONDS = 60.0
# Ways, reasons and peers that are remembered.
_MOST = 200
# Lines that are written at once. What is beyond them comes with the next lines.
_MOST_LINES = 20
# The longest `detail`, in characters: some repeat a header that the client sent.
_DETAIL = 200


@dataclass(slots=True)
class RefusalGroup:
    """What was refused of one peer, on one way, for one reason; times are in seconds since the epoch."""

    way: Way
    problem: str
    peer: Peer
    detail: str
    """What the client was told the last time."""
    number: int
    """Requests over HTTP, lines over the stream."""
    first: float
    last: float
    untold: int = 0
    """How many of them no line of the log has told of yet."""
    told_at: float = float("-inf")


class Refusals:
    """Counts refusals, as an observer on the event loop; `now` returns seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # The one that was refused last is the last one.
        self._found: dict[tuple[str, str, str], RefusalGroup] = {}

    def saw(self, fact: Fact) -> None:
        """Count a refusal; nothing else is of interest."""
        if type(fact) is not Refused:
            return
        now, key = self._now(), (fact.way, fact.problem, fact.peer.name)
        found = self._found.pop(key, None)
        if found is None:
            found = RefusalGroup(fact.way, fact.problem, fact.peer, "", 0, now, now)
            if len(self._found) >= _MOST:
                del self._found[next(iter(self._found))]
        self._found[key] = found
        found.peer, found.detail, found.last = fact.peer, fact.detail[:_DETAIL], now
        found.number += fact.number
        found.untold += fact.number

    def recent(self) -> list[RefusalGroup]:
        """Return what was refused since the start, the latest first."""
        return list(reversed(self._found.values()))

    def tell(self, observer: Observer) -> None:
        """Tell of what was refused since the last time; to be called every few seconds."""
        now = self._now()
        # A clock that was set back makes nobody wait for an hour.
        due = [one for one in self._found.values() if one.untold and not 0 <= now - one.told_at < _TELL_SECONDS]
        for one in due[:_MOST_LINES]:
            pid = {} if one.peer.pid is None else {"pid": one.peer.pid}
            details = {"way": one.way, "problem": one.problem, "peer": one.peer.name, **pid, "number": one.untold}
            observer.saw(Notice("events.refused", {**details, "detail": one.detail}))
            one.untold, one.told_at = 0, now
