"""Everybody is told, whatever the others do."""

from __future__ import annotations

import structlog.testing

from forwarder.observe.base import Observers
from forwarder.observe.facts import Fact, Refused
from tests.observe.recording import Recording


class Broken:
    """An observer with a bug."""

    def saw(self, fact: Fact) -> None:
        raise RuntimeError("a bug")


def test_a_bug_in_one_observer_stops_nobody() -> None:
    """The others are told the same, whoever told it goes on, and the log says which observer has the bug."""
    one, other = Recording(), Recording()
    fact = Refused("http", "queue-full", 3)
    with structlog.testing.capture_logs() as logs:
        Observers(one, Broken(), other).saw(fact)
    assert one.facts == other.facts == [fact]
    assert logs == [
        {
            "event": "observer.failed",
            "log_level": "error",
            "observer": "Broken",
            "fact": "Refused",
            "exc_info": True,
        }
    ]


def test_one_more() -> None:
    """Who is added is told after the others, from then on."""
    one, other = Recording(), Recording()
    observers = Observers(one)
    observers.saw(Refused("http", "queue-full", 1))
    observers.add(other)
    observers.saw(Refused("http", "queue-full", 2))
    assert [len(one.facts), len(other.facts)] == [2, 1]
