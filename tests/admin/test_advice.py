"""What is said of a destination in each state, and what to do about it."""

from __future__ import annotations

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.admin.advice import Advice, advise
from forwarder.admin.steering import DestinationStatus
from forwarder.cli.root import cli
from forwarder.config.schema import DestinationConfig
from forwarder.model import Counters, LastError, Obstacle, State
from forwarder.observe.history import Pace

IDLE = DestinationStatus(State.IDLE)
EMPTY = Counters()
UNKNOWN = Pace()


def say(
    pump: DestinationStatus = IDLE, counters: Counters = EMPTY, pace: Pace = UNKNOWN, age: float | None = None
) -> Advice:
    return advise("main", pump, counters, pace, age)


def answered(status: int | None, detail: str = "", state: State = State.HOLDING, attempts: int = 1) -> Advice:
    return say(DestinationStatus(state, attempts, last_error=LastError(0.0, status, detail)))


@pytest.mark.parametrize("state", [State.IDLE, State.DELIVERING])
def test_all_is_well(state: State) -> None:
    """Nothing is said of a destination that takes what comes, also if something waits for a moment."""
    assert say(DestinationStatus(state), Counters(5, 5), Pace(100.0, 1.0), 3.0) == (None, None)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (401, "keys show --destination main"),
        (403, "keys show --destination main"),
        (402, "the account"),
        (404, "destinations.main.url"),
        (405, "destinations.main.url"),
        (302, "final address into destinations.main.url"),
        (407, "destinations.main.proxy"),
        (413, "too large"),
        (429, "destinations.main.max_rate"),
        (431, "destinations.main.headers"),
        (451, "in front of"),
        (511, "login"),
        (400, "why it refuses"),
        (422, "why it refuses"),
        (500, "queue flush -d main"),
        (503, "queue flush -d main"),
        (None, "check --remote"),
    ],
)
def test_each_answer_has_a_next_step(status: int | None, step: str) -> None:
    """The answer is quoted, and the step names the setting, the command, or whom to ask."""
    found = answered(status, "no such thing")
    assert found.reason == ("no such thing" if status is None else f"it answered {status}: no such thing")
    assert step in (found.next_step or "")


def test_no_answer_for_a_known_cause() -> None:
    """What to look at for this cause comes first, then what helps with any."""
    error = LastError(0.0, None, "the certificate has expired", "Have it renewed")
    found = say(DestinationStatus(State.BACKING_OFF, 1, last_error=error))
    assert (found.next_step or "").startswith("have it renewed; `forwarder check --remote` shows")


def test_while_it_is_being_tried_again() -> None:
    """An attempt under way after failures changes nothing about why it is failing."""
    assert answered(503, "busy", State.DELIVERING, 4) == answered(503, "busy", State.BACKING_OFF, 4)


def test_a_page_for_an_answer() -> None:
    """Only the beginning of a long answer is quoted, and an empty one leaves the number."""
    assert len(answered(502, "<html>" * 1000).reason or "") < 250
    assert answered(502).reason == "it answered 502"
    assert answered(502, "502 Bad Gateway").reason == "it answered 502 Bad Gateway"


def test_everything_is_refused() -> None:
    """A destination that refuses all that waits is said to be so, with what it answered."""
    pump = DestinationStatus(State.HOLDING, 9, last_error=LastError(0.0, 422, "no"), obstacle=Obstacle("all_refused"))
    assert say(pump).reason == "everything that waits is refused, and nothing is given up: it answered 422: no"
    asked = DestinationStatus(State.DELIVERING, last_error=LastError(0.0, 422, "no"), obstacle=Obstacle("all_refused"))
    assert say(asked) == say(pump)


def test_the_queue_cannot_be_read() -> None:
    """A destination that waits without having failed waits for the storage, whatever it answered long ago."""
    found = say(DestinationStatus(State.BACKING_OFF, last_error=LastError(0.0, 503, "busy")))
    assert found.reason == "the queue could not be read"
    assert "disk" in (found.next_step or "")


@pytest.mark.parametrize(
    ("obstacle", "reason", "step"),
    [
        (Obstacle("distrusted", 100.4), "for 100 s refusals are not believed", "one of several servers"),
        (Obstacle("set_aside", detail="bad"), "2 events set aside: refused even alone, and tried again: bad", "dead"),
        (Obstacle("set_aside", detail="bad", has_failed=True), "2 events set aside: failed even alone", "dead list"),
        (Obstacle("rate", 7.0), "max_rate: the next request goes in 7 s", "destinations.main.max_rate"),
    ],
)
def test_not_everything_is_taken(obstacle: Obstacle, reason: str, step: str) -> None:
    """Whatever keeps it from taking everything is said, with what to do or that nothing is to be done."""
    found = say(DestinationStatus(State.DELIVERING, set_aside=2, obstacle=obstacle))
    assert reason in (found.reason or "")
    assert step in (found.next_step or "")


def test_a_pause_is_ended_by_hand() -> None:
    """Somebody who does not know of the pause learns how to end it; failures before it do not matter now."""
    found = say(DestinationStatus(State.PAUSED, 3, last_error=LastError(0.0, 503, "busy")))
    assert found == ("an operator paused it: events are accepted and wait", "forwarder queue resume -d main")


def test_dead_letters_are_looked_at() -> None:
    """As long as there are dead letters somebody should look at them, unless there is something worse."""
    assert say(counters=Counters(1, dead=1)) == (None, "look at 1 dead letter: forwarder dead list -d main")
    assert "1,204 dead letters" in (say(counters=Counters(1204, dead=1204)).next_step or "")


def test_it_falls_behind() -> None:
    """A destination that takes less than comes in, for more than a minute, is said to be too slow."""
    found = say(DestinationStatus(State.DELIVERING), Counters(9, 9), Pace(100.0, 50.0), 61.0)
    assert found.reason == "more events come in than it takes"
    assert "in_flight" in (found.next_step or "")
    assert say(DestinationStatus(State.DELIVERING), Counters(9, 9), Pace(50.0, 100.0), 61.0) == (None, None)


def test_what_is_no_destination_any_more() -> None:
    """What is kept of a destination that is not configured is counted; both ways out are named."""
    found = say(DestinationStatus(State.REMOVED), Counters(3, 2, dead=1))
    assert found.reason == "it is no longer configured, and keeps 2 queued events and 1 dead letter"
    assert "forwarder queue export -d main" in (found.next_step or "")


def test_what_was_invalid() -> None:
    """Events that broke the rules can be looked at and replayed; where none is left, nothing is said."""
    found = say(DestinationStatus(State.INVALID), Counters(3, dead=2, dropped=1))
    assert found.reason == "2 events broke the rules and are kept"
    assert "forwarder dead replay -d main" in (found.next_step or "")
    assert say(DestinationStatus(State.INVALID), Counters(3, dropped=3)) == (None, None)


def every_advice() -> list[Advice]:
    """Return what is said in every state, with every answer and every obstacle."""
    answers = [answered(status) for status in (None, *range(300, 600))]
    obstacles = [Obstacle("distrusted"), Obstacle("all_refused"), Obstacle("set_aside"), Obstacle("rate")]
    hindered = [say(DestinationStatus(State.IDLE, obstacle=obstacle)) for obstacle in obstacles]
    states = [say(DestinationStatus(state), Counters(3, 1, dead=1), Pace(9.0, 1.0), 99.0) for state in State]
    behind = say(counters=Counters(1, 1), pace=Pace(9.0, 1.0), age=99.0)
    return [*answers, *hindered, *states, behind]


def options_of(words: list[str]) -> set[str]:
    """Return the options of a command, which must exist; what follows its name is not looked at."""
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        command = found.get_command(click.Context(found), word)
        assert command is not None, words
        found = command
    assert not isinstance(found, click.Group), words
    return {option for parameter in found.params for option in parameter.opts}


def test_every_command_and_setting_exists() -> None:
    """What is pasted at three in the morning works: commands, their options, and settings are real."""
    steps = [step for _reason, step in every_advice() if step is not None]
    commands, settings = set(), set()
    for step in steps:
        commands |= set(re.findall(r"forwarder [a-z]+[^`:;,()]*", step))
        settings |= set(re.findall(r"destinations\.main\.([a-z_]+)", step))
    for command in commands:
        words = command.split()[1:]
        assert {word for word in words if word.startswith("-")} <= options_of(words), command
    assert len(commands) >= 10
    assert {"url", "max_rate", "batch", "proxy", "headers"} == settings
    assert settings <= DestinationConfig.__dataclass_fields__.keys()


@given(st.text(max_size=30), st.sampled_from(State), st.integers(0, 3), st.text(max_size=30))
def test_nothing_breaks_on_any_text(name: str, state: State, attempts: int, detail: str) -> None:
    """Names and answers may hold anything, braces too."""
    pump = DestinationStatus(state, attempts, last_error=LastError(0.0, 500, detail))
    found = advise(name, pump, Counters(1, 1), Pace(), None)
    if attempts and state is State.HOLDING:
        assert detail in (found.reason or "")
