"""The load campaign, short: it passes, and finds what was promised and not kept."""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.command import campaign
from tests.campaigns.load import Report
from tests.load.arrivals import Arrivals
from tests.load.finding import Finding
from tests.load.peers import event

SHORT = ("--gigabytes", "0.06", "--events", "60000", "--mebibytes", "16")


def test_every_event_is_counted(tmp_path: Path) -> None:
    """A queue is filled, started with, drained and handed back, another one overflows, and nothing is missing."""
    # The machine may be busy; two seconds are for the real campaign.
    code, report = campaign("load", tmp_path, *SHORT, "--start", "60")
    assert (code, report["problems"]) == (0, [])
    found = {finding["what"]: finding["figure"] for part in report["parts"].values() for finding in part}
    assert found["events queued"] > 100_000
    assert found["disk in use when filled"] > found["disk in use when drained"] > 0
    assert found["events dropped, and counted as such"] + found["events delivered"] == found["events sent"] == 60_000
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_takes_too_long_is_found(tmp_path: Path) -> None:
    """A figure beyond its bound is told, and ends the campaign with 1."""
    code, report = campaign("load", tmp_path, *SHORT, "--gigabytes", "0.001", "--start", "0")
    assert code == 1
    [problem] = report["problems"]
    assert problem.startswith("deep queue: seconds from its start until ready: ")


def test_a_report_is_good_within_all_bounds() -> None:
    """What is at its bound is held, what is beyond is a problem, what has none is told for its own sake."""
    report = Report()
    report.add("part", [Finding("told", 7, "s"), Finding("held", 1, "s", 1), Finding("broken", 2.5, "s", 2)])
    assert report.problems == ["part: broken: 2.5 s, at most 2"]


def test_what_arrives_is_compared_byte_for_byte() -> None:
    """Events that are left out, repeated, overtaken, changed or missing in the end are each noticed."""

    def figures(*arrived: bytes) -> list[float]:
        arrivals = Arrivals()
        arrivals.take(list(arrived))
        return [finding.figure for finding in arrivals.findings(4)]

    sent = [event(number) for number in range(4)]
    assert figures(*sent) == [0, 0, 0]
    assert figures(*sent[:3]) == [1, 0, 0]
    assert figures(sent[0], *sent[2:]) == [1, 0, 0]
    assert figures(*sent, sent[3]) == [0, 1, 0]
    assert figures(sent[0], sent[2], sent[1], sent[3]) == [1, 1, 0]
    assert figures(*sent[:3], sent[3].replace(b"feature_use", b"feature_lose")) == [0, 0, 1]
    assert figures(*sent, event(4)) == [1, 0, 0]
