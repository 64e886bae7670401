"""Remember what was done to the daemon lately, and tell it together with what was refused: `GET /v1/activity`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from forwarder.admin.privacy import without_filters
from forwarder.admin.status import utc
from forwarder.observe.facts import Acted, Fact
from forwarder.observe.refusals import RefusalGroup

# Acts that are remembered. The log has all of them.
_MOST: Final = 100


class ActState(msgspec.Struct):
    """Something that somebody did to the daemon."""

    at: datetime
    act: str
    who: dict[str, Any]
    """`uid` and `pid` over a unix socket, the `peer` over TCP."""
    what: dict[str, Any]
    """What it was done to; viewers are only told the destination."""
    result: dict[str, Any]
    failure: str | None


class RefusedState(msgspec.Struct):
    """What was refused of one peer, on one way in, for one reason."""

    way: str
    problem: str
    peer: str
    detail: str
    """What the client was told the last time; empty for viewers."""
    number: int
    first: datetime
    last: datetime


class ActivityState(msgspec.Struct):
    """The whole answer, the latest first."""

    acts: list[ActState]
    refusals: list[RefusedState]


class Acts:
    """The last acts, as an observer on the event loop; `now` returns seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: deque[tuple[float, Acted]] = deque(maxlen=_MOST)

    def saw(self, fact: Fact) -> None:
        """Remember an act; nothing else is of interest."""
        if type(fact) is Acted:
            self._last.append((self._now(), fact))

    def recent(self) -> list[tuple[float, Acted]]:
        """Return the last acts with the time of each, the latest first."""
        return list(reversed(self._last))


def build_activity(
    acts: Iterable[tuple[float, Acted]], refusals: Iterable[RefusalGroup], *, sees_events: bool
) -> ActivityState:
    """Build the answer for somebody who does, or does not, see the contents of events."""
    return ActivityState(
        acts=[
            ActState(
                at=utc(at),
                act=act.act,
                who=dict(act.who),
                what=dict(act.what) if sees_events else without_filters(act.what),
                result=dict(act.result),
                failure=act.failure if sees_events or act.failure is None else "it failed",
            )
            for at, act in acts
        ],
        refusals=[
            RefusedState(
                way=found.way,
                problem=found.problem,
                peer=str(found.peer),
                detail=found.detail if sees_events else "",
                number=found.number,
                first=utc(found.first),
                last=utc(found.last),
            )
            for found in refusals
        ],
    )
