"""Sizes and durations."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.mistakes import SettingError
from forwarder.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0s"), (1.0, "1s"), (90.0, "90s"), (7200.0, "2h"), (0.25, "250ms"), (1e-5, "1e-05s")]
)
def test_a_duration_is_written_in_its_largest_unit(seconds: float, text: str) -> None:
    """A duration is a whole number of a unit where it can be."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("4GiB", 4 * 2**30),
        ("2 MB", 2000000),
        ("1.5KiB", 1536),
        ("0.5MiB", 2**19),
        ("3GB", 3 * 10**9),
        ("2.0", 2),
    ],
)
def test_size_is_bytes(text: str, size: int) -> None:
    """A size is a number of bytes, or of a decimal or binary unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GiB",
        "4G",
        "4gib",
        "4GIB",
        "-1",
        "+1",
        "1e9",
        "1_000",
        "0x10",
        "1.5",
        "nan",
        ".5MiB",
        "1TiB",
        "010000000",
        "01KiB",
        "00",
        "٣",
        "9" * 21,
    ],
)
def test_what_is_no_size_is_refused_with_the_allowed_forms(text: str) -> None:
    """Anything but a size is refused, and the message names the units."""
    with pytest.raises(SettingError, match=r"is not a size\. Write .*KiB, MiB, GiB, kB, MB or GB, such as 4GiB"):
        parse_size(text)


@given(st.integers(0, 2**60))
def test_a_formatted_size_reads_back(size: int) -> None:
    """What is shown as a size is read as the same size, and fits the pattern of the schema."""
    assert parse_size(str(format_size(size))) == size
    assert re.fullmatch(SIZE_PATTERN, str(format_size(size)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("2s", 2),
        ("5min", 300),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5 h", 5400),
        ("1100ms", 1.1),
    ],
)
def test_duration_is_seconds(text: str, seconds: float) -> None:
    """A duration is a number of seconds, or of another unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5m",
        "5sec",
        "1h30min",
        "-5s",
        "1e3",
        "inf",
        ".inf",
        "nan",
        ".nan",
        "1:30",
        "never",
        "5 weeks",
        "08s",
        "00",
    ],
)
def test_what_is_no_duration_is_refused_with_the_allowed_forms(text: str) -> None:
    """Anything but a duration is refused, and the message names the units."""
    with pytest.raises(SettingError, match=r"is not a duration\. Write .*ms, s, min, h or d, such as 30s"):
        parse_duration(text)


@given(st.floats(0.001, 3e9) | st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000))
def test_a_formatted_duration_reads_back(seconds: float) -> None:
    """What is shown as a duration is read as the same number of seconds, and fits the pattern of the schema."""
    assert parse_duration(format_duration(seconds)) == seconds
    assert re.fullmatch(DURATION_PATTERN, format_duration(seconds))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (90, "90s"), (300, "5min"), (3600, "1h"), (86400, "1d"), (0.5, "500ms")]
)
def test_duration_is_shown_in_its_largest_unit(seconds: float, text: str) -> None:
    """A duration is shown as people would write it."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, 0), (1, 1), (1000, "1kB"), (1024, "1KiB"), (2**30, "1GiB"), (10**6, "1MB"), (1025, 1025)]
)
def test_size_is_shown_in_its_largest_unit(size: int, text: str | int) -> None:
    """A size is shown as people would write it."""
    assert format_size(size) == text
