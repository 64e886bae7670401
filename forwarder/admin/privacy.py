"""Leave out of an answer what may repeat the contents of events, for those who see none.

A destination may quote in its answer what it was sent, a client is told what was wrong with its event, and a
filter names what somebody searched for. Figures, times, states and statuses remain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from forwarder.admin.steering import DestinationStatus

_HIDDEN: Final = "what it answered is shown to operators"


def without_answers(pump: DestinationStatus) -> DestinationStatus:
    """Return what is known about a destination without the words that it answered with."""
    error, obstacle = pump.last_error, pump.obstacle
    if error is not None and error.status is not None:
        error = replace(error, detail="")
    if obstacle is not None and obstacle.detail:
        obstacle = obstacle._replace(detail=_HIDDEN)
    return replace(pump, last_error=error, obstacle=obstacle)


def without_filters(what: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an act was done to, as far as that is the name of a destination."""
    filters = what.get("filter", {})
    named = what.get("destination", filters.get("destination"))
    return {} if named is None else {"destination": named}
