"""What was refused is summed up by way, reason and peer."""

from __future__ import annotations

from forwarder.observe.facts import Accepted, Notice, Peer, Refused
from forwarder.observe.refusals import Refusals
from tests.observe.recording import Recording

ALICE, BOB = Peer("uid 1000", 7), Peer("10.0.0.1")


class Clock:
    """A wall clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(refusals: Refusals) -> list[dict[str, object]]:
    """Return the fields of the lines that are due."""
    recording = Recording()
    refusals.tell(recording)
    assert all(isinstance(fact, Notice) and fact.key == "events.refused" for fact in recording.facts)
    return [dict(fact.details) for fact in recording.facts if isinstance(fact, Notice)]


def test_the_first_is_told_at_once_and_the_rest_once_a_minute() -> None:
    """A line says how many there were since the last one about the same way, reason and peer."""
    refusals = Refusals(clock := Clock())
    refusals.saw(Refused("http", "queue-full", 1, ALICE, "the queue is full"))
    line = {"way": "http", "problem": "queue-full", "peer": "uid 1000", "pid": 7, "detail": "the queue is full"}
    assert told(refusals) == [{**line, "number": 1}]
    for _ in range(29):
        clock.now += 2
        refusals.saw(Refused("http", "queue-full", 10, ALICE._replace(pid=8), "the queue is full"))
        assert told(refusals) == []
    clock.now += 2
    assert told(refusals) == [{**line, "number": 290, "pid": 8}]
    clock.now += 600
    assert told(refusals) == []


def test_others_have_lines_of_their_own() -> None:
    """Another way, reason or peer is another line; an address has no process."""
    refusals = Refusals(Clock())
    for fact in (
        Refused("http", "queue-full", 1, ALICE),
        Refused("http", "queue-full", 1, BOB),
        Refused("stream", "queue-full", 1, ALICE),
        Refused("http", "malformed", 1, ALICE),
        Accepted("http", 1, 0, 10, 0.1),
    ):
        refusals.saw(fact)
    lines = told(refusals)
    assert [(line["way"], line["problem"], line["peer"]) for line in lines] == [
        ("http", "queue-full", "uid 1000"),
        ("http", "queue-full", "10.0.0.1"),
        ("stream", "queue-full", "uid 1000"),
        ("http", "malformed", "uid 1000"),
    ]
    assert ["pid" in line for line in lines] == [True, False, True, True]


def test_what_is_shown() -> None:
    """Whoever asks gets the whole count with the times of the first and the last, and the latest on top."""
    refusals = Refusals(clock := Clock())
    refusals.saw(Refused("http", "malformed", 1, ALICE, "no JSON"))
    refusals.saw(Refused("stream", "malformed", 5, BOB, "no JSON"))
    told(refusals)
    clock.now += 100
    refusals.saw(Refused("http", "malformed", 2, ALICE, "not UTF-8"))
    shown = [(one.peer, one.number, one.detail, one.first, one.last) for one in refusals.recent()]
    assert shown == [(ALICE, 3, "not UTF-8", 1000.0, 1100.0), (BOB, 5, "no JSON", 1000.0, 1000.0)]


def test_bounded() -> None:
    """However many peers there are, little is kept, little is written at once, and what a client sent is cut."""
    refusals = Refusals(clock := Clock())
    for number in range(1000):
        refusals.saw(Refused("http", "malformed", 1, Peer(f"10.0.{number // 256}.{number % 256}"), "x" * 10_000))
    assert len(refusals.recent()) == 200
    assert refusals.recent()[0].peer == Peer("10.0.3.231")
    assert {len(one.detail) for one in refusals.recent()} == {200}
    counts = []
    while lines := told(refusals):
        counts.append(len(lines))
        clock.now += 2
    assert counts == [20] * 10


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    """What is refused after the clock was set back is told, not only when the clock has caught up."""
    refusals = Refusals(clock := Clock())
    refusals.saw(Refused("http", "malformed", 1, ALICE))
    told(refusals)
    clock.now -= 900
    refusals.saw(Refused("http", "malformed", 1, ALICE))
    assert len(told(refusals)) == 1
