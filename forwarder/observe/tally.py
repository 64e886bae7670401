"""What a fact adds to the metrics: purely, so that Prometheus and OpenTelemetry count the same."""

from __future__ import annotations

from typing import NamedTuple

from forwarder.model import Outcome
from forwarder.observe.facts import Accepted, Attempted, Committed, Fact, Refused


class Measured(NamedTuple):
    """An amount that is added to a counter, or a value that goes into a histogram."""

    name: str
    """A key of `forwarder.observe.measures.MEASURES`."""
    labels: tuple[str, ...]
    value: float


def tally(fact: Fact) -> list[Measured]:
    """Return what a fact adds; nothing for what the queue counts itself, or nobody measures."""
    match fact:
        case Accepted(way=way):
            return [
                Measured("forwarder_intake_events_total", (way,), fact.events),
                Measured("forwarder_intake_bytes_total", (way,), fact.bytes),
                Measured("forwarder_accept_duration_seconds", (way,), fact.seconds),
            ]
        case Committed():
            return [Measured("forwarder_commit_duration_seconds", (), fact.seconds)]
        case Attempted(destination=name):
            found = [
                Measured("forwarder_delivery_attempts_total", (name, fact.outcome.value), 1),
                Measured("forwarder_delivery_duration_seconds", (name,), fact.seconds),
            ]
            if fact.outcome is Outcome.DELIVERED:
                found.append(Measured("forwarder_batch_events", (name,), fact.events))
            return found
        case Refused():
            return [Measured("forwarder_events_refused_total", (fact.way, fact.problem), fact.number)]
    return []


COUNTED = (
    "forwarder_intake_events_total",
    "forwarder_intake_bytes_total",
    "forwarder_accept_duration_seconds",
    "forwarder_commit_duration_seconds",
    "forwarder_delivery_attempts_total",
    "forwarder_delivery_duration_seconds",
    "forwarder_batch_events",
    "forwarder_events_refused_total",
)
"""The metrics that facts add to; the others are read off the status, or off the process."""
