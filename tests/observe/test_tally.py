"""What each fact adds to the metrics."""

from __future__ import annotations

import pytest

from forwarder.model import Outcome, State
from forwarder.observe.facts import Accepted, Attempted, Committed, Fact, Notice, Refused, Settled, StateChanged
from forwarder.observe.measures import BUCKETS, MEASURES
from forwarder.observe.tally import COUNTED, Measured, tally

FACTS: list[Fact] = [
    Accepted("http", 3, 1, 300, 0.5),
    Committed(3, 300, 0.25),
    Attempted("main", 0, Outcome.DELIVERED, 3, 300, 0.5, 200),
    Attempted("main", 0, Outcome.HELD, 3, 300, 0.5, 403),
    Refused("stream", "invalid-event", 7),
]


def test_what_is_added() -> None:
    """Events, bytes, durations and outcomes, with their labels."""
    assert tally(FACTS[0]) == [
        Measured("forwarder_intake_events_total", ("http",), 3),
        Measured("forwarder_intake_bytes_total", ("http",), 300),
        Measured("forwarder_accept_duration_seconds", ("http",), 0.5),
    ]
    assert tally(FACTS[2]) == [
        Measured("forwarder_delivery_attempts_total", ("main", "delivered"), 1),
        Measured("forwarder_delivery_duration_seconds", ("main",), 0.5),
        Measured("forwarder_batch_events", ("main",), 3),
    ]
    assert [each.name for each in tally(FACTS[3])] == [
        "forwarder_delivery_attempts_total",
        "forwarder_delivery_duration_seconds",
    ]
    assert tally(FACTS[4]) == [Measured("forwarder_events_refused_total", ("stream", "invalid-event"), 7)]


@pytest.mark.parametrize("fact", [Settled("main", 3), StateChanged("main", State.HOLDING), Notice("pump.failed", {})])
def test_what_adds_nothing(fact: Fact) -> None:
    """What the queue counts, or nobody measures."""
    assert tally(fact) == []


def test_everything_that_is_counted_is_a_metric() -> None:
    """The list of what facts add to is what they do add to; labels are those of the table; histograms have buckets."""
    found = [each for fact in FACTS for each in tally(fact)]
    assert {each.name for each in found} == set(COUNTED)
    assert all(len(each.labels) == len(MEASURES[each.name].labels) for each in found)
    assert {name for name in COUNTED if MEASURES[name].kind == "histogram"} == BUCKETS.keys()
