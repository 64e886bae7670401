"""What a status and a Retry-After mean: one table, and what the configuration overrides in it.

The Event API does not document which status it gives when. So nothing here is final: every status can be
given another outcome under `destinations.*.responses`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from forwarder.model import Outcome

# Statuses that mean something else than their class does.
_SPECIAL = {
    401: Outcome.HELD,
    402: Outcome.HELD,
    403: Outcome.HELD,
    404: Outcome.HELD,
    405: Outcome.HELD,
    407: Outcome.HELD,
    408: Outcome.DEFERRED,
    413: Outcome.TOO_LARGE,
    415: Outcome.HELD,
    421: Outcome.HELD,
    425: Outcome.DEFERRED,
    426: Outcome.HELD,
    429: Outcome.DEFERRED,
    431: Outcome.HELD,
    451: Outcome.HELD,
    511: Outcome.HELD,
}
ABOUT_KEY: Final = {401, 403}
"""These are given to whoever is not known, or may not."""
NOT_NOW: Final = {425, 429}
"""These speak of the moment, and of nothing in the request."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?(\s*,\s*[0-9]+(\.[0-9]*)?)*", re.ASCII)
# Thirty years: longer than any wait that is meant, and still a sum that dates can be computed with.
_LONGEST = 1e9
_CLASSES = {2: Outcome.DELIVERED, 3: Outcome.HELD, 4: Outcome.REJECTED, 5: Outcome.DEFERRED}


def outcome_of(status: int | None, overrides: Mapping[int, Outcome]) -> Outcome:
    """Return the outcome for a status; what has none, or none that is final in HTTP, is tried again."""
    if status is None:
        return Outcome.DEFERRED
    return overrides.get(status) or _SPECIAL.get(status) or _CLASSES.get(status // 100, Outcome.DEFERRED)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for (RFC 9110 §10.2.3), None where it says nothing usable.

    `now` is in seconds since the epoch, for the form that is a date. A fraction is allowed, and of several
    values, as several fields with that name give them, the longest wait counts. The value is untrusted:
    the caller caps it.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(max(float(part) for part in value.split(",")), _LONGEST)
    at = parse_date(value)
    return None if at is None else min(max(0.0, at - now), _LONGEST)


def parse_date(value: str) -> float | None:
    """Return a date in seconds since the epoch, None where it is none; of two that stand there, the first one."""
    try:
        date = parsedate_to_datetime("".join(value.partition("GMT")[:2]))
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        # Not a date, or one with a number in it that no date can have.
        return None
