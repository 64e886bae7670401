"""Errors carry what operators need: words, the next step, and the exit code that scripts look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forwarder import errors
from forwarder.errors import ConfigError, EventError, ForwarderError, InvalidEventsError, Problem

# By sysexits(3), which systemd and scripts go by; everything else ends with 1.
CODES = {
    "ConfigError": 78,
    "FileError": 78,
    "SigningKeyError": 78,
    "NewerQueueError": 78,
    "ExposedError": 78,
    "QueueLockedError": 75,
    "StorageError": 74,
    "DiskFullError": 74,
    "DamagedError": 74,
    "InputOutputError": 74,
    "ListenError": 69,
    "NotReachableError": 69,
    "FaultScriptError": 2,
}


def kinds(base: type[ForwarderError] = ForwarderError) -> Iterator[type[ForwarderError]]:
    """Return every kind of error that the module defines."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from kinds(kind)


def test_exit_codes() -> None:
    """Each error ends a command with the exit code that is documented, and no other has one of its own."""
    found = {kind.__name__: kind.exit_code for kind in kinds() if kind.exit_code != 1}
    assert found == CODES


def test_every_error_says_what_to_do() -> None:
    """The docstring of each error is a whole sentence of its own; it is not that of its base."""
    silent = [kind.__name__ for kind in kinds() if not vars(kind).get("__doc__", "").rstrip().endswith((".", "?"))]
    assert silent == []


def test_a_hint_is_apart_from_the_message() -> None:
    """The message is all that `str` gives, and without a hint there is an empty one."""
    error = ForwarderError("no room", hint="purge something")
    assert (str(error), error.message, error.hint) == ("no room", "no room", "purge something")
    assert ForwarderError("no room").hint == ""


@pytest.mark.parametrize(
    ("problem", "written"),
    [
        (
            Problem("f.yaml", "queue.path", "is a number", "Write a path"),
            "f.yaml: queue.path: is a number. Write a path",
        ),
        (Problem("f.yaml", "", "the file is empty", "Fill it"), "f.yaml: the file is empty. Fill it"),
        (Problem("f.yaml", "queue", "is a list", ""), "f.yaml: queue: is a list"),
    ],
)
def test_a_problem_names_its_place(problem: Problem, written: str) -> None:
    """Where it stands comes first, then what is wrong, then what would be right, as far as there is one."""
    assert str(problem) == written


def test_all_problems_of_a_configuration_are_told() -> None:
    """The message has a line for each problem."""
    error = ConfigError([Problem("f", "a", "is wrong", ""), Problem("f", "b", "is wrong", "")])
    assert str(error) == "f: a: is wrong\nf: b: is wrong"


@pytest.mark.parametrize(
    ("field", "message"), [("eventType", "event 3, eventType: is required"), ("", "event 3: is required")]
)
def test_the_first_bad_event_is_the_message(field: str, message: str) -> None:
    """A request with bad events is told of the first one in its message, and of the others beside it."""
    found = [EventError(3, field, "is required"), EventError(5, "", "is no object")]
    error = InvalidEventsError(found)
    assert (str(error), error.errors) == (message, found)
