"""Sizes and durations as people write them: `4GiB`, `500ms`, `1.5h`.

What `format_size` and `format_duration` write, `parse_size` and `parse_duration` read back exactly.
"""

from __future__ import annotations

import re
from decimal import Decimal

from forwarder.config.mistakes import SettingError, quoted

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZES = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "GB": 10**9, "MB": 10**6, "kB": 10**3}
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}

# Twenty digits are more than any setting allows, and Python refuses to convert very long numbers. A leading zero
# makes a number octal in YAML 1.1 and means nothing in YAML 1.2, so it is refused.
_DIGITS = "(?:0|[1-9][0-9]{0,19})"
_NUMBER = rf"{_DIGITS}(?:\.[0-9]{{1,20}})?"
SIZE_PATTERN = rf"^{_NUMBER} ?({'|'.join(_SIZES)})$|^{_DIGITS}$"
DURATION_PATTERN = rf"^{_NUMBER} ?(ms|s|min|h|d)?$"
SIZE_FORMS = "a number of bytes, or a number with KiB, MiB, GiB, kB, MB or GB"
DURATION_FORMS = "a number of seconds, or a number with ms, s, min, h or d"

_size = re.compile(rf"({_NUMBER}) ?({'|'.join(_SIZES)})?")
_duration = re.compile(rf"({_NUMBER}) ?(ms|s|min|h|d)?")


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for, such as `256KiB` or `1000`. Raises SettingError."""
    match = _size.fullmatch(text)
    size = Decimal(match[1]) * _SIZES.get(match[2], 1) if match else None
    if size is None or size != int(size):
        raise SettingError(f"{quoted(text)} is not a size", f"Write {SIZE_FORMS}, such as 4GiB.")
    return int(size)


def format_size(size: int) -> str | int:
    """Return `size` bytes in the largest unit of which it is a whole number."""
    for unit, factor in _SIZES.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return size


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for, such as `1.5h` or `30`. Raises SettingError."""
    match = _duration.fullmatch(text)
    if match is None:
        raise SettingError(f"{quoted(text)} is not a duration", f"Write {DURATION_FORMS}, such as 30s.")
    # Divided, because a multiplication by 0.001 would not give back every number of milliseconds.
    return float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _SECONDS.get(match[2], 1)


def format_duration(seconds: float) -> str:
    """Return `seconds` in the largest unit of which it is a whole number."""
    for unit, factor in _SECONDS.items():
        if seconds and seconds % factor == 0:
            return f"{int(seconds) // factor}{unit}"
    milliseconds = round(seconds * 1000)
    if seconds and milliseconds / 1000 == seconds:
        return f"{milliseconds}ms"
    return f"{seconds!r}s" if seconds else "0s"
