"""How values are written for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.cli.text import ago, brief, clock, counted, duration, few, printable, shortened, size


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0s"), (9.94, "9.9s"), (9.95, "10s"), (59.4, "59s"), (59.5, "1min"), (3569, "59min"), (3570, "1.0h")]
    + [(35 * 3600, "35h"), (36 * 3600, "1.5d"), (400 * 86400, "400d"), (1e12, "9999d")],
)
def test_brief(seconds: float, words: str) -> None:
    """A duration for a column takes five characters at most."""
    assert brief(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (0.001, "0.1"), (9.94, "9.9"), (9.95, "10"), (7.0, "7"), (99_999, "99,999"), (99_999.5, "100k")]
    + [(999_499, "999k"), (999_500, "1.0M"), (1_234_567, "1.2M"), (2**62, "4.6E")],
)
def test_few(number: float, words: str) -> None:
    """A number for a column takes six characters at most, and what is not nothing does not look like it."""
    assert few(number) == words


@given(st.one_of(st.floats(0, 1e15), st.integers(0, 2**62)))
def test_numbers_fit_their_columns(number: float) -> None:
    """Whatever the number, its column is no wider."""
    assert len(few(number)) <= 6
    assert len(brief(number)) <= 5


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["short", "abcdefghij-1", "abcdefghij-2"], ["short", "abc…-1", "abc…-2"]),
        (["1-abcdefghij", "2-abcdefghij"], ["1-abc…", "2-abc…"]),
        (["aaaaaaaa-1bbbb", "aaaaaaaa-2bbbb"], ["…1bbbb", "…2bbbb"]),
        (["aaaaaaaa1aaaaaaaa", "aaaaaaaa2aaaaaaaa"], ["aaa…aa", "aaa…aa"]),
    ],
)
def test_shortened(names: list[str], found: list[str]) -> None:
    """What is cut off is what the names have in common, where that is possible."""
    assert shortened(names, 6) == found


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
