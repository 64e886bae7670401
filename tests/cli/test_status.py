"""`forwarder status`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.model import LastError, Segment, State
from tests.admin.serving import Served, served_in_thread
from tests.cli.console import run, run_on_terminal
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


def test_table(served: Served) -> None:
    """The table has a line a destination: its account, what is next and what went wrong last."""
    served.queue.hold("main", [b"{}"] * 1204, delivered=4)
    served.queue.bury(destination="audit")
    error = LastError(NOW, 503, "busy \x1b[2J" + "x" * 100)
    served.daemon.states["main"] = DestinationStatus(State.BACKING_OFF, 3, 65.0, NOW, error)
    ended = run("status", "--admin", str(served.address))
    assert ended.code == 0
    head, queue, _, columns, main, audit, *_steps = ended.out.splitlines()
    assert head.startswith("forwarder ")
    assert head.endswith(", ready")
    assert queue == "queue █████░░░░░░░░░░░░░░░ 25% of 2.0 KiB (512 B, memory)"
    assert columns.split()[:5] == ["DESTINATION", "STATE", "QUEUED", "OLDEST", "DELIVERED"]
    assert main.split()[:6] == ["main", "backing_off", "1,204", "1min", "4", "0"]
    assert "in 1min 5s" in main
    assert "503 " in main
    assert "busy \\u001b[2Jx" in main
    assert main.endswith("…")
    assert audit.split() == ["audit", "idle", "0", "-", "0", "1", "0", "0", "-", "-", "-"]


def test_terminal(served: Served) -> None:
    """On a terminal the same is a table, and what a destination said cannot steer the terminal."""
    served.daemon.states["main"] = DestinationStatus(State.HOLDING, last_error=LastError(NOW, None, "[red]\x1b]0;x"))
    ended = run_on_terminal("status", "--admin", str(served.address))
    assert "holding" in ended.out
    assert "[red]\\u001b]0;x" in ended.out


def test_not_ready(served: Served) -> None:
    """A daemon that cannot accept events is said to be so, with the reason, and the exit code is 1."""
    served.daemon.reason = "the queue is full"
    ended = run("status", "--admin", str(served.address))
    assert ended.code == 1
    assert "NOT READY: the queue is full" in ended.out
    assert run("status", "--json", "--admin", str(served.address)).code == 1


def test_ready_again(served: Served) -> None:
    """A daemon that becomes ready between the two questions is said to be so."""
    reasons = iter(["the queue is full"])
    served.daemon.ready = lambda: next(reasons, None)  # type: ignore[method-assign]
    ended = run("status", "--admin", str(served.address))
    assert "NOT READY: it has just become ready again" in ended.out


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
    _head, refused, first, second, queue, *_ = ended.out.splitlines()
    assert refused == "RELOAD REFUSED 1min 5s ago, the configuration before it goes on:"
    assert (first, second) == ("  f.yaml:3: queue.path: changes only at a start", "  and \\u001b[2J")
    assert queue.startswith("queue ")
    problems = json.loads(run("status", "--json", "--admin", str(served.address)).out)["reload_refused"]["problems"]
    assert problems == ["f.yaml:3: queue.path: changes only at a start", "and \x1b[2J"]
