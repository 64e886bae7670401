"""`forwarder queue`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.admin.steering import DestinationStatus
from forwarder.errors import StorageError
from forwarder.model import State
from tests.admin.serving import Served, served_in_thread
from tests.cli.console import Ended, run, run_on_terminal

EVENTS = [b'{"n":1.0}', b'{"n":"\xc2\x9b2J"}', b'{"n":3}']


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in_thread(tmp_path, "main") as served:
        served.queue.hold("main", EVENTS)
        yield served


def queue(served: Served, *args: str) -> Ended:
    return run("queue", *args, "--admin", str(served.address))


def test_peek(served: Served) -> None:
    """The oldest events are printed as they are, as many as are asked for."""
    assert queue(served, "peek", "--limit", "2") == Ended(0, '{"n":1.0}\n{"n":"\x9b2J"}\n', "")


def test_peek_on_a_terminal(served: Served) -> None:
    """On a terminal, control characters in an event are shown and not obeyed."""
    ended = run_on_terminal("queue", "peek", "--admin", str(served.address))
    assert ended.out.splitlines()[1] == '{"n":"\\u009b2J"}'


def test_peek_at_nothing(served: Served) -> None:
    """An empty queue is said to be empty."""
    served.queue.accounts.clear()
    assert queue(served, "peek") == Ended(0, "", "main: nothing is queued\n")


def test_export(served: Served, tmp_path: Path) -> None:
    """All events are written byte for byte, to standard output or to a file, without being taken."""
    whole = b"".join(event + b"\n" for event in EVENTS)
    ended = queue(served, "export")
    assert (ended.out.encode(), ended.err) == (whole, "main: 3 events exported\n")
    file = tmp_path / "events.ndjson"
    assert queue(served, "export", "-o", str(file)) == Ended(0, "", "main: 3 events exported\n")
    assert file.read_bytes() == whole
    assert len(served.queue.queued("main")) == 3


def test_export_that_breaks_off(served: Served, tmp_path: Path) -> None:
    """Half an export leaves the file as it was and nothing beside it."""
    served.queue.hold("main", [b'"' + b"x" * 1000 + b'"'] * 500)
    served.queue.fails_after, served.queue.error = 400, StorageError("disk I/O error")
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "events.ndjson"
    file.write_text("before")
    ended = queue(served, "export", "-o", str(file))
    assert ended.code == 69
    assert "the connection broke before the answer was complete" in ended.err
    assert [(found.name, found.read_text()) for found in file.parent.iterdir()] == [("events.ndjson", "before")]


@pytest.mark.parametrize("verb", ["flush", "pause", "resume"])
def test_steering(served: Served, verb: str) -> None:
    """Each verb is done to the only destination, and said."""
    ended = queue(served, verb)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("main: ")
    assert served.daemon.told == [(verb, "main")]


def test_several_destinations(served: Served) -> None:
    """Where there are several destinations, one has to be named."""
    served.daemon.states["audit"] = DestinationStatus(State.IDLE)
    ended = queue(served, "pause")
    assert ended.code == 2
    assert "name one with --destination: audit, main" in ended.err
    assert queue(served, "pause", "--destination", "audit").out == "audit: paused\n"
    assert served.daemon.told == [("pause", "audit")]


def test_no_destination(served: Served) -> None:
    """Without any destination that is said."""
    served.daemon.states.clear()
    served.queue.accounts.clear()
    ended = queue(served, "pause")
    assert (ended.code, "there is no destination" in ended.err) == (2, True)


def test_unknown_destination(served: Served) -> None:
    """A destination that does not exist is a usage error that names those that do."""
    ended = queue(served, "flush", "-d", "nope")
    assert ended.code == 2
    assert "there is no destination 'nope'; the destinations are main" in ended.err


def test_removed_destination(served: Served) -> None:
    """A removed destination stands in the way of none but those commands that it could be meant by."""
    served.queue.hold("old", [b"{}"])
    assert queue(served, "pause").code == 0
    assert queue(served, "export").code == 2
    assert queue(served, "export", "-d", "old").out == "{}\n"
    ended = queue(served, "pause", "-d", "old")
    assert ended.code == 1
    assert "no longer configured" in ended.err
    assert "hint: configure it again" in ended.err


def test_purge(served: Served) -> None:
    """With --yes everything that is queued is dropped, and its number said."""
    assert queue(served, "purge", "--yes", "-d", "main") == Ended(0, "main: 3 events dropped\n", "")
    assert served.queue.accounts["main"].dropped == 3


@pytest.mark.parametrize("words", [[], ["--all", "-d", "main"]])
def test_purge_says_of_which(served: Served, words: list[str]) -> None:
    """A purge names its destination, or says that all are meant, also where there is only one."""
    ended = queue(served, "purge", "--yes", *words)
    assert ended.code == 2
    assert "say which: --destination NAME, or --all" in ended.err
    assert len(served.queue.queued("main")) == 3


def test_purge_all(served: Served) -> None:
    """With --all every destination is emptied, those that are no longer configured, too."""
    served.queue.hold("old", [b"{}"])
    ended = run_on_terminal("queue", "purge", "--all", "--admin", str(served.address), typed=b"y\n")
    assert "Drop the 4 events queued for all destinations, for good? [y/N]" in ended.out
    assert "main: 3 events dropped" in ended.out
    assert "old: 1 event dropped" in ended.out
    assert [served.queue.queued(name) for name in ("main", "old")] == [[], []]


def test_purge_without_terminal(served: Served) -> None:
    """Without --yes and without a terminal nothing is dropped."""
    ended = queue(served, "purge", "-d", "main")
    assert ended.code == 2
    assert "give --yes" in ended.err
    assert len(served.queue.queued("main")) == 3


@pytest.mark.parametrize(("typed", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 3), (b"\n", 1, 3)])
def test_purge_asks(served: Served, typed: bytes, code: int, left: int) -> None:
    """On a terminal the question says how many events would go; only a yes drops them."""
    ended = run_on_terminal("queue", "purge", "-d", "main", "--admin", str(served.address), typed=typed)
    assert "Drop the 3 events queued for main, for good? [y/N]" in ended.out
    assert ended.code == code
    assert len(served.queue.queued("main")) == left
    assert ("nothing was dropped" in ended.out) == (code == 1)


def test_purge_of_an_unknown_destination(served: Served) -> None:
    """The daemon has the last word on a name, also behind --yes."""
    assert queue(served, "purge", "--yes", "-d", "nope").code == 2
