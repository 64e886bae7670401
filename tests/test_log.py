"""Lines of the log, for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from forwarder.log import configure, leads_to_journal
from forwarder.lossy import LossyStream


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = before, level


def log_something() -> None:
    """Write a line of each kind, with what must never be in a log as a local variable."""
    token = "hush-hush"  # noqa: F841 - that it is not shown is the point
    log = structlog.get_logger("forwarder")
    log.info("batch.delivered", destination="main", path="/a\nb\x1b[31m")
    log.debug("batch.chosen")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    logging.getLogger("aiohttp").info("chatter")
    try:
        int("no")
    except ValueError:
        log.exception("pump.failed")
        logging.getLogger("asyncio").exception("it broke")


def parsed(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_line_is_json() -> None:
    """Where nobody watches, every line is one JSON object: ours, those of libraries, and tracebacks, too."""
    out = io.StringIO()
    configure("info", "auto", out)
    log_something()
    lines = parsed(out)
    assert [line["event"] for line in lines] == ["batch.delivered", "slow callback", "pump.failed", "it broke"]
    assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert lines[0]["path"] == "/a\nb\x1b[31m"
    assert lines[1]["logger"] == "asyncio"
    assert all(line["time"].endswith("Z") for line in lines)
    assert all("ValueError: invalid literal" in line["exception"] for line in lines[2:])


@pytest.mark.parametrize(("stream", "format_"), [(Terminal(), "auto"), (io.StringIO(), "console")])
def test_lines_for_people(stream: io.StringIO, format_: str) -> None:
    """On a terminal, lines are laid out for people; what a client sent cannot steer the terminal."""
    configure("info", format_, stream)
    log_something()
    assert "batch.delivered" in stream.getvalue()
    assert "/a\nb" not in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) == stream.isatty()
    assert "\x1b[31m'" not in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_no_values(format_: str) -> None:
    """A traceback shows the code that failed, and never what its variables held: events and tokens among them."""
    out = Terminal()
    configure("debug", format_, out)
    log_something()
    assert "ValueError: invalid literal" in out.getvalue()
    # The line that sets it is not a line of the traceback.
    assert "hush-hush" not in out.getvalue()


def test_a_line_begins_with_what_it_is_about() -> None:
    """The key is first, then level and time, of our own lines and of those of libraries: a line may be cut off."""
    out = io.StringIO()
    configure("info", "json", out)
    log_something()
    assert all(list(line)[:3] == ["event", "level", "time"] for line in parsed(out))


@pytest.mark.parametrize("format_", ["json", "console"])
def test_priorities_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    """Where systemd connects standard error with the journal, each line has its priority, also in a traceback."""
    with (tmp_path / "log").open("w") as out:
        found = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        stream = LossyStream(out)
        configure("info", format_, stream)
        log_something()
        stream.write(stream.words(3))
        stream.drain()
    lines = (tmp_path / "log").read_text().splitlines()
    priorities = [line[:3] for line in lines]
    assert priorities[:2] == ["<6>", "<4>"]
    assert (priorities[-1], lines[-1].count("log.lines_lost")) == ("<4>", 1)
    assert set(priorities[2:-1]) == {"<3>"}
    if format_ == "json":
        assert [json.loads(line[3:])["level"] for line in lines] == ["info", "warning", "error", "error", "warning"]


@pytest.mark.parametrize("value", ["", "1:2", "8:1234:5"])
def test_no_priorities_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A service whose standard error was redirected, or that merely inherits the variable, writes plain lines."""
    monkeypatch.setenv("JOURNAL_STREAM", value)
    with (tmp_path / "log").open("w") as out:
        configure("info", "json", out)
        log_something()
    assert (tmp_path / "log").read_text().startswith("{")
    assert not leads_to_journal(io.StringIO(), os.environ)


def test_another_level_holds_at_once() -> None:
    """A reload with another level applies to whoever logs already."""
    out = io.StringIO()
    configure("info", "json", out)
    log = structlog.get_logger("forwarder")
    log.debug("batch.deferred")
    configure("debug", "json", out)
    log.debug("batch.held")
    configure("warning", "json", out)
    log.info("destination.recovered")
    assert [line["event"] for line in parsed(out)] == ["batch.held"]


def test_levels() -> None:
    """The level holds for our own lines; libraries are heard from warnings on, and never below the level."""
    out = io.StringIO()
    configure("error", "json", out)
    log_something()
    assert [line["event"] for line in parsed(out)] == ["pump.failed", "it broke"]
    out = io.StringIO()
    configure("debug", "json", out)
    log_something()
    assert "batch.chosen" in out.getvalue()
    assert "chatter" not in out.getvalue()


def test_lines_that_were_lost_are_told_in_the_same_form(tmp_path: Path) -> None:
    """How many lines were lost is a line like the others, for people or for machines."""
    for format_, words in (("json", '"event": "log.lines_lost"'), ("console", "log.lines_lost lines=")):
        mended = tmp_path / format_
        with Path("/dev/full").open("w") as out, mended.open("w") as file:
            stream = LossyStream(out)
            configure("info", format_, stream)
            log_something()
            stream.drain()
            os.dup2(file.fileno(), out.fileno())
            structlog.get_logger("forwarder").info("forwarder.started")
            stream.drain()
        lost, first, *_ = mended.read_text().splitlines()
        assert words in lost
        assert "forwarder.started" in first
        if format_ == "json":
            assert (json.loads(lost)["lines"], json.loads(first)["event"]) == (4, "forwarder.started")
