"""What `send` shows while it works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.cli.progress import show_progress
from forwarder.cli.reader import Reader
from forwarder.cli.report import Report
from forwarder.cli.splitter import Splitter
from tests.cli.console import run_on_terminal
from tests.cli.intake import Receiving, event, ndjson


def test_progress_on_a_terminal(intake: Receiving, to: str, tmp_path: Path) -> None:
    """On a terminal a bar shows how far it is, and the end is the same line as elsewhere."""
    (tmp_path / "events").write_bytes(ndjson(*map(event, range(2000))))
    ended = run_on_terminal("send", str(tmp_path / "events"), "--to", to)
    assert "2,000 events 0:0" in ended.out
    assert ended.out.endswith("2,000 events accepted\n")


def test_a_wait_is_told_once_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Each reason to wait is one line, however often something else moves, and comes again once it had passed."""
    report = Report()
    with Path(os.devnull).open("rb") as nothing, show_progress(report, Reader(nothing.fileno(), Splitter(print))):
        report.wait("no room")
        report.store(1)
        report.wait("")
        report.wait("no room")
    assert capsys.readouterr().err == "waiting: no room\n" * 2


def test_a_reason_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon gives as its reason is shown, not obeyed."""
    report = Report()
    with Path(os.devnull).open("rb") as nothing, show_progress(report, Reader(nothing.fileno(), Splitter(print))):
        report.wait("\x1b[2J")
    assert capsys.readouterr().err == "waiting: \\u001b[2J\n"
