"""`forwarder status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.errors import StorageError
from forwarder.model import LastError, Segment, State
from tests.admin.serving import Served, served_in_thread
from tests.cli.console import Ended, run, run_on_terminal
from tests.queue.watched import NOW


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in_thread(tmp_path, "main", "audit") as served:
        yield served


def test_json_is_the_answer_as_it_is(served: Served) -> None:
    """`--json` prints the daemon's document, and exits with 0 while events can be accepted."""
    served.queue.hold("main", [b"{}"], delivered=4)
    ended = run("status", "--json", "--admin", str(served.address))
    document = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert document["destinations"]["main"]["accepted"] == 5


def test_overview(served: Served) -> None:
    """In a pipe nothing is cut: the forwarder as a whole, a line a destination, then why and what to do."""
    served.queue.hold("main", [b"{}"] * 1204, delivered=4)
    served.queue.bury(destination="audit")
    error = LastError(NOW, 503, "busy \x1b[2J" + "x" * 100)
    served.daemon.states["main"] = DestinationStatus(State.BACKING_OFF, 3, 65.0, NOW, error)
    ended = run("status", "--admin", str(served.address))
    assert ended.code == 0
    top, queue, intake, _, columns, main, audit, _, situation, why, step, *rest = ended.out.splitlines()
    assert top.startswith("forwarder ")
    assert top.endswith(", ready")
    assert queue == "queue █████░░░░░░░░░░░░░░░ 25% of 2.0 KiB (512 B, memory)"
    assert intake == "intake http 3 accepted, 1 refused, 2 open; stream 0 accepted, 0 refused, 0 open"
    assert columns.split()[:4] == ["DESTINATION", "STATE", "SINCE", "QUEUED"]
    assert main.split()[:5] == ["main", "backing_off", "-", "1,204", "1min"]
    assert audit.split()[:5] == ["audit", "idle", "-", "0", "-"]
    assert situation == "main: backing_off, 3 failed in a row, next attempt in 1min 5s"
    assert why == "  why: it answered 503: busy \\u001b[2J" + "x" * 100
    assert step.startswith("  next: look at the destination")
    assert rest == ["audit: idle, 1 dead", "  next: look at 1 dead letter: forwarder dead list -d audit"]


def test_terminal(served: Served) -> None:
    """On a terminal it fits the width, and what a destination said cannot steer the terminal."""
    said = LastError(NOW, None, "[red]\x1b]0;x " + "y" * 300)
    served.daemon.states["main"] = DestinationStatus(State.HOLDING, 1, last_error=said)
    ended = run_on_terminal("status", "--admin", str(served.address))
    assert "holding" in ended.out
    assert "[red]\\u001b]0;x" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 160
    assert "\x1b" not in ended.out


def test_colours(served: Served) -> None:
    """A state that is not well is coloured on a terminal, unless NO_COLOR is set or the terminal has none."""
    served.daemon.states["main"] = DestinationStatus(State.PAUSED)
    assert "\x1b[33mpaused" in run_on_terminal("status", "--admin", str(served.address), NO_COLOR="").out
    assert "\x1b" not in run_on_terminal("status", "--admin", str(served.address), NO_COLOR="", TERM="dumb").out
    assert "\x1b" not in run("status", "--admin", str(served.address)).out


def test_not_ready(served: Served) -> None:
    """A daemon that cannot accept events is said to be so, with the reason, and the exit code is 1."""
    served.daemon.reason = "the queue is full"
    ended = run("status", "--admin", str(served.address))
    assert ended.code == 1
    assert "NOT READY: the queue is full" in ended.out
    assert run("status", "--json", "--admin", str(served.address)).code == 1


async def test_event_is_counted(tmp_path: Path) -> None:
    """What is appended to the queue is what the status counts as queued."""
    with served_in_thread(tmp_path, "main") as served:
        await served.queue.append([Segment("main", 1, b"{}\n")])
        document = json.loads(run("status", "--json", "--admin", str(served.address)).out)
    assert document["destinations"]["main"]["queued"] == 1


def test_a_reload_that_was_refused(served: Served) -> None:
    """As long as what is in use is not what stands in the file, the status says so, and why."""
    served.reloads.refused = Refusal(time.time() - 65, ("f.yaml:3: queue.path: changes only at a start", "and \x1b[2J"))
    ended = run("status", "--admin", str(served.address))
    _head, queue, _intake, refused, first, second, *_ = ended.out.splitlines()
    assert refused == "RELOAD REFUSED 1min 5s ago, the configuration before it goes on:"
    assert (first, second) == ("  f.yaml:3: queue.path: changes only at a start", "  and \\u001b[2J")
    assert queue.startswith("queue ")
    problems = json.loads(run("status", "--json", "--admin", str(served.address)).out)["reload_refused"]["problems"]
    assert problems == ["f.yaml:3: queue.path: changes only at a start", "and \x1b[2J"]


def watch(served: Served, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ended], *args: str) -> Ended:
    """Watch the status three times; the second time the daemon cannot say."""
    looks = iter([StorageError("the disk is gone"), None])

    def next_look(_seconds: float) -> None:
        try:
            served.queue.error = next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("forwarder.cli.status.time.sleep", next_look)
    return run("status", "--watch", "--admin", str(served.address), *args)


def test_watch_in_a_pipe(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is printed after the one before, with its time; a failure is told and does not end it."""
    ended = watch(served, monkeypatch, run)
    assert ended.code == 130
    assert [line[:5] for line in ended.out.splitlines() if line.startswith("---")] == ["--- 2"] * 2
    assert ended.out.count("DESTINATION") == 2
    assert "the disk is gone" in ended.err
    assert "\x1b" not in ended.out


def test_watch_on_a_terminal(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes the place of the one before, also where the daemon does not answer."""
    ended = watch(served, monkeypatch, run_on_terminal)
    assert ended.code == 130
    assert ended.out.count("\x1b[H") == 3
    assert "the disk is gone" in ended.out


def test_watch_for_programs(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--json` each look is one line."""
    ended = watch(served, monkeypatch, run, "--json")
    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert [document["ready"] for document in documents] == [True, True]


def test_an_older_daemon(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update and before the restart the daemon lacks the newest fields: its status is still shown."""
    account = {"accepted": 1, "queued": 1, "delivered": 0, "dead": 0, "dropped": 0}
    rest = {"oldest_age_seconds": 1.0, "attempts": 0, "next_attempt_in_seconds": None, "set_aside": 0}
    last = {"last_success": None, "last_error": None, "reason": None}
    document = {
        "version": "0.1.0",
        "uptime_seconds": 1.0,
        "ready": True,
        "queue": {"backend": "sqlite", "bytes": 1, "max_bytes": 2, "full": False},
        "destinations": {"main": {"state": "idle", **account, **rest, **last}},
    }
    monkeypatch.setattr("forwarder.cli.client.AdminClient.ask", lambda *_: json.dumps(document).encode())
    ended = run("status", "--admin", str(served.address))
    assert (ended.code, ended.err) == (0, "")
    assert "main         idle" in ended.out
