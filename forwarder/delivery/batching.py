"""When to send: by count, bytes and age; and what of a batch is no event, so that the rest can be sent."""

from __future__ import annotations

from itertools import groupby

from forwarder.envelope import is_json_object
from forwarder.model import Batch, Limits, whole_lines
from forwarder.queue.base import Pending


def seconds_until_due(pending: Pending, limits: Limits, max_age: float, now: float) -> float | None:
    """Return after how many seconds a batch should be sent: 0 for at once, None where nothing waits.

    A batch is due when it is full, by events or bytes, or when its oldest event has waited
    `max_age` seconds. `now` is monotonic.
    """
    if not pending.events:
        return None
    if pending.fills(limits):
        return 0.0
    return max(0.0, pending.since + max_age - now)


def broken_apart(batch: Batch) -> tuple[list[Batch], list[Batch]]:
    """Return the lines of a batch that are no JSON object, and the others: each run of neighbours a batch, in order."""
    kinds = [is_json_object(line[:-1]) for line in whole_lines(batch.data)]
    broken: list[Batch] = []
    whole: list[Batch] = []
    left: Batch | None = batch
    for is_whole, run in groupby(kinds):
        events = len(list(run))
        part, left = (left, None) if left is None or events == left.events else left.split(events)
        if part is not None:
            (whole if is_whole else broken).append(part)
    return broken, whole
