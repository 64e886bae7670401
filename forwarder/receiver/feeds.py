"""Store received events, and return them page by page (the Event API, `/get`).

Every event gets a time of receipt in nanoseconds that is later than that of every event before it, so
the times in each feed are strictly increasing. An event belongs to the feed of its source, and to that
of its object if it has one.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from forwarder.receiver.payload import Envelope, with_received

DEFAULT_PAGE = 1000

Feed = tuple[str, ...]
"""`(eventSourceId,)` or `(eventObjectType, eventObjectId)`."""


@dataclass(frozen=True, slots=True)
class Window:
    """Selects events of a feed by their times of receipt, in nanoseconds; both ends are exclusive."""

    after: int | None = None
    before: int | None = None
    limit: int = DEFAULT_PAGE
    newest: bool = False


class Feeds:
    """Events in the order of their receipt, by feed."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._received: list[int] = []
        self._positions: defaultdict[Feed, list[int]] = defaultdict(list)
        self._with_null: set[int] = set()
        self._last = 0

    def add(self, envelopes: Sequence[Envelope], events: Sequence[bytes]) -> None:
        """Store all events of a request; nothing here can fail halfway."""
        received = max(time.time_ns(), self._last + 1)
        for envelope, event in zip(envelopes, events, strict=True):
            position = len(self.events)
            self.events.append(event)
            self._received.append(received)
            self._positions[(envelope.eventSourceId,)].append(position)
            if envelope.eventObjectType is not None and envelope.eventObjectId is not None:
                self._positions[envelope.eventObjectType, envelope.eventObjectId].append(position)
            if envelope.eventReceived is None:
                self._with_null.add(position)
            self._last = received
            received += 1

    def page(self, feed: Feed, window: Window) -> bytes:
        """Return a page as JSON: an instruction `older`, the events from old to new, then an instruction `newer`."""
        positions = self._positions.get(feed, [])
        low = 0 if window.after is None else bisect_right(positions, window.after, key=self._received.__getitem__)
        high = len(positions)
        if window.before is not None:
            high = max(low, bisect_left(positions, window.before, key=self._received.__getitem__))
        if window.newest:
            low = max(low, high - window.limit)
        else:
            high = min(high, low + window.limit)
        before, after = self._edges(positions[low:high], window)
        name = quote("/".join(feed))
        older = _instruction("older", f"{name}?before={before}&newest=true", low)
        newer = _instruction("newer", f"{name}?after={after}", len(positions) - high)
        objects = [older, *map(self._read, positions[low:high]), newer]
        head = msgspec.json.encode({"uri": name, "updateUrl": f"{name}?after={after}", "count": high - low})
        return b'%s,"objects":[%s]}' % (head[:-1], b",".join(objects))

    def _read(self, position: int) -> bytes:
        return with_received(self.events[position], self._received[position], is_set=position in self._with_null)

    def _edges(self, positions: Sequence[int], window: Window) -> tuple[int, int]:
        """Return the times at which the page before this one ends and the next one begins, both exclusive."""
        if positions:
            return self._received[positions[0]], self._received[positions[-1]]
        if window.after is not None:
            return window.after + 1, window.after
        if window.before is not None:
            return window.before, max(window.before - 1, 0)
        return 0, 0


def _instruction(direction: str, url: str, available: int) -> bytes:
    # The exact number is known here, but readers must cope with a service that only says "at least one".
    fields = {
        "eventType": "EventFeedInstruction",
        "url": url,
        "instruction": direction,
        "count": -1 if available else 0,
    }
    return msgspec.json.encode(fields)
