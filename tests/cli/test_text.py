"""How values are written for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.cli.text import ago, clock, counted, duration, printable, size


@given(st.text())
def test_printable(text: str) -> None:
    """Nothing comes out that a terminal would obey, and inside JSON it still means the same."""
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0s"), (0.25, "0.2s"), (9.96, "10s"), (45.4, "45s"), (60, "1min"), (3720, "1h 2min"), (90061, "1d 1h")],
)
def test_duration(seconds: float, words: str) -> None:
    """A duration has its two largest units."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (4 * 1024**3, "4.0 GiB"), (2**50, "1024.0 TiB")],
)
def test_size(count: int, words: str) -> None:
    """A size has the unit that leaves few digits."""
    assert size(count) == words


def test_times() -> None:
    """Moments are given in UTC to the second; one that is yet to come was 0 s ago."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    assert clock(moment) == "2026-01-02T03:04:05Z"
    assert ago(moment, moment + timedelta(seconds=125)) == "2min 5s ago"
    assert ago(moment, moment - timedelta(seconds=5)) == "0.0s ago"


def test_plurals() -> None:
    """One is one, and thousands are grouped."""
    assert (counted(1, "event"), counted(1204, "event")) == ("1 event", "1,204 events")
    assert counted(0, "dead letter") == "0 dead letters"
