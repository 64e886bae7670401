"""A condition is told when it begins and when it ends, and can be asked for in between."""

from __future__ import annotations

import pytest

from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Condition, ConditionChanged, Notice
from forwarder.observe.logs import line_of
from tests.observe.recording import Recording


class Clock:
    """A wall clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_condition_is_told_twice_however_often_it_is_set() -> None:
    """Only the beginning and the end are facts; the end says how long it lasted and what was last known."""
    recording, clock = Recording(), Clock()
    conditions = Conditions(recording, clock)
    conditions.set("queue.full", "since now", "main")
    clock.now += 30
    conditions.set("queue.full", "for 30 s", "main")
    assert conditions.active() == [Condition("queue.full", "main", 1000.0, "for 30 s")]
    clock.now += 30
    for _ in range(2):
        conditions.set("queue.full", None, "main")
    assert conditions.active() == []
    assert recording.facts == [
        ConditionChanged("queue.full", "main", True, "since now"),
        ConditionChanged("queue.full", "main", False, "for 30 s", 60.0),
    ]


def test_a_clock_that_is_set_back_makes_no_duration_negative() -> None:
    """What ends before it began, by the wall clock, lasted no time."""
    recording, clock = Recording(), Clock()
    conditions = Conditions(recording, clock)
    conditions.set("queue.full", "full")
    clock.now -= 3600
    conditions.set("queue.full", None)
    assert recording.facts[-1] == ConditionChanged("queue.full", None, False, "full", 0.0)


def test_conditions_are_listed_from_the_oldest_on() -> None:
    """Each key holds once for each destination, and once for the forwarder as a whole."""
    clock = Clock()
    conditions = Conditions(Recording(), clock)
    for destination in (None, "b", "a"):
        conditions.set("queue.full", "full", destination)
        clock.now += 1
    assert [condition.destination for condition in conditions.active()] == [None, "b", "a"]


def test_a_destination_that_is_gone_has_no_conditions() -> None:
    """What was about it has ended; what is about others goes on."""
    recording = Recording()
    conditions = Conditions(recording, Clock())
    for destination in (None, "gone", "here"):
        conditions.set("queue.full", "full", destination)
    conditions.forget("gone")
    assert [condition.destination for condition in conditions.active()] == [None, "here"]
    assert recording.facts[-1][:3] == ("queue.full", "gone", False)


def test_a_condition_has_a_line_at_both_ends() -> None:
    """It begins with a line of its own key, and ends with one that names it and says how long it lasted."""
    began = ConditionChanged("queue.full", "main", True, "4 GiB of 4 GiB")
    ended = ConditionChanged("queue.full", None, False, "4 GiB of 4 GiB", 61.23456)
    assert line_of(began) == ("queue.full", {"destination": "main", "detail": "4 GiB of 4 GiB"})
    found = {"condition": "queue.full", "detail": "4 GiB of 4 GiB", "seconds": 61.235}
    assert line_of(ended) == ("condition.ended", found)


def test_a_condition_may_be_known_for_longer() -> None:
    """Who knows when it began says so, and every look finds the same time."""
    recording = Recording()
    conditions = Conditions(recording, lambda: 1000.0)
    for _ in range(2):
        conditions.set("queue.full", "full", since=940.0)
        assert conditions.active() == [Condition("queue.full", None, 940.0, "full")]
    conditions.set("queue.full", None)
    assert recording.facts[-1] == ConditionChanged("queue.full", None, False, "full", 60.0)


@pytest.mark.parametrize(
    ("begin", "end"), [("queue.storage_failing", "queue.storage_recovered"), ("queue.file_gone", "queue.file_back")]
)
def test_what_has_lines_of_its_own(begin: str, end: str) -> None:
    """What the queue tells at once, by a line of its own, is a condition until the line that ends it, and told once."""
    recording = Recording()
    conditions = Conditions(recording, lambda: 1000.0)
    conditions.saw(Notice(end, {}))
    conditions.saw(Notice(begin, {"reason": "the disk is full"}))
    conditions.saw(Notice("queue.migrating", {}))
    assert conditions.active() == [Condition(begin, None, 1000.0, "the disk is full")]
    conditions.saw(Notice(end, {}))
    assert conditions.active() == []
    assert recording.facts == []
