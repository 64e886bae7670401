"""The last hour and day, as they are told."""

from __future__ import annotations

import pytest

from forwarder.admin.past import build_history
from forwarder.errors import MalformedError
from forwarder.model import Counters, QueueStats
from forwarder.observe.history import History


def test_steps_of_each_destination() -> None:
    """Whole steps are told, with the time at which the first one began."""
    clock = [0.0]
    history = History(lambda: clock[0])
    for second in range(0, 31, 2):
        clock[0] = float(second)
        counters = Counters(accepted=second, queued=second)
        history.look(QueueStats("memory", 0, 1, destinations={"main": counters}))
    found = build_history(history, "hour", 1030.0)
    assert (found.step_seconds, found.begin.timestamp()) == (10.0, 1000.0)
    steps = found.destinations["main"]
    assert (steps.accepted, steps.delivered, steps.queued) == ([10] * 3, [0] * 3, [10, 20, 30])
    assert build_history(history, "day", 1030.0).destinations["main"].accepted == []


def test_a_span_that_there_is_not() -> None:
    """The hint names those that there are."""
    with pytest.raises(MalformedError) as caught:
        build_history(History(lambda: 0.0), "week", 0.0)
    assert caught.value.hint == "ask for one of: hour, day"
