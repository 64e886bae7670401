"""The account of one `send`."""

from __future__ import annotations

from forwarder.cli.report import MAX_REFUSALS, Report
from forwarder.model import Address
from tests.cli.console import run
from tests.cli.intake import Receiving, event, ndjson


def test_many_bad_events(intake: Receiving, to: str) -> None:
    """Twenty refusals are spelt out, the rest is counted."""
    ended = run("send", "--to", to, stdin=ndjson(*[{"n": 1}, event(2)] * 50))
    assert (ended.code, ended.out) == (1, "50 events accepted, 50 refused\n")
    assert ended.err.splitlines()[-1] == "and 30 more refused"
    assert len(ended.err.splitlines()) == 21
    assert ended.err.startswith("line 1: 422 ")


def test_refusals_beyond_the_limit_are_only_counted() -> None:
    """The first refusals are kept with what was said; of the others only the number grows."""
    report = Report()
    for number in range(MAX_REFUSALS + 5):
        report.refuse(f"line {number}", 422, "is required")
    assert report.refused == MAX_REFUSALS + 5
    assert [refusal.place for refusal in report.refusals] == [f"line {number}" for number in range(MAX_REFUSALS)]


def test_what_is_settled_never_goes_back() -> None:
    """An answer that arrives late does not take back what a later one has settled."""
    report = Report()
    report.settle(7)
    report.settle(3)
    assert report.settled == 7


def test_every_move_is_told_and_a_repeated_reason_is_not() -> None:
    """Whoever shows the report hears of every change, and of a reason to wait only when it is another one."""
    moves: list[tuple[int, int, str]] = []
    report = Report()
    report.changed = lambda: moves.append((report.stored, report.refused, report.waiting))
    report.store(2)
    report.wait("the queue is full")
    report.wait("the queue is full")
    report.refuse("line 3", 422, "is required")
    report.wait("")
    assert moves == [
        (2, 0, ""),
        (2, 0, "the queue is full"),
        (2, 1, "the queue is full"),
        (2, 1, ""),
    ]


def test_a_lost_connection_names_where_to_go_on() -> None:
    """The hint names the place of the first event that is not settled."""
    report = Report()
    report.settle(41)
    error = report.lost(Address(path="/run/s.sock"), lambda event: f"line {event}")
    assert error.message == "unix:/run/s.sock: the connection was lost"
    assert error.hint.startswith("send again from line 42 on;")
    assert error.exit_code == 69
