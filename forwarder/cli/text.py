"""Write values for people: durations, sizes, tables, and text from elsewhere.

Text from a destination or a producer may contain control characters, which a terminal would obey;
`printable` shows them as escapes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import click

# The column widths of plain output are taken from so many rows, so that the first can be printed before the last is
# known. Wider values further down stick out.
_SAMPLE = 1000


def printable(text: str) -> str:
    """Return the text on one line, each control or other invisible character as `\\uXXXX`."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    # Escape it as JSON does, characters beyond the basic plane as surrogate pairs (RFC 8259 §7), so that JSON
    # stays valid JSON.
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `3h 12min`, `45s`, `0.3s`."""
    # From there on one decimal would be rounded up to 10.0, which is too long.
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(at for at, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)


def brief(seconds: float) -> str:
    """Return a duration in at most five characters: `0.3s`, `45s`, `12min`, `3.2h`, `120d`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f}min"
    if seconds < 36 * 3600:
        return _rounded(seconds / 3600, "h")
    return _rounded(min(seconds / 86400, 9999), "d")


def few(number: float) -> str:
    """Return a number in at most six characters: `0.4`, `12`, `99,999`, `123k`, `1.2M`."""
    if number < 9.95 and number != round(number):
        # What is not nothing must not look like it.
        return f"{max(number, 0.1):.1f}"
    if number < 99_999.5:
        return f"{number:,.0f}"
    for unit in ("k", "M", "G", "T", "P"):
        number /= 1000
        if number < 999.5:
            return _rounded(number, unit)
    return _rounded(min(number / 1000, 9999), "E")


def _rounded(number: float, unit: str) -> str:
    return f"{number:.1f}{unit}" if number < 9.95 else f"{number:.0f}{unit}"


def shortened(names: Sequence[str], length: int) -> list[str]:
    """Return names that are at most so long, without their ends, their middles or their beginnings.

    Whichever leaves them all different is taken, as names of a kind are mostly alike.
    """
    for tail in (0, (length - 1) // 2, length - 1):
        found = [_shortened(name, length, tail) for name in names]
        if len(set(found)) == len(set(names)):
            return found
    return [_shortened(name, length, (length - 1) // 2) for name in names]


def _shortened(name: str, length: int, tail: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def size(count: int) -> str:
    """Return a number of bytes in the unit that leaves few digits: `512 B`, `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago something was: `2min 5s ago`."""
    passed = ((now or datetime.now(UTC)) - moment).total_seconds()
    return f"{duration(max(0.0, passed))} ago"


def clock(moment: datetime) -> str:
    """Return a moment to the second, in UTC, as RFC 3339 writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: `1 event`, `1,204 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def on_terminal() -> bool:
    """Return whether standard output is a terminal; it is None if the caller closed it."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
    """Print rows: a table on a terminal, aligned plain columns elsewhere; `right` names right-aligned columns.

    Plain rows are printed as they come, however many there are.
    """
    if on_terminal():
        _print_rich(columns, rows, right)
        return
    for line in _plain(columns, rows, right):
        click.echo(line)


def _print_rich(columns: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str]) -> None:
    # Imported late: loading rich takes longer than most commands, and only a terminal needs it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _plain(columns: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str]) -> Iterator[str]:
    rest = iter(rows)
    sample = [columns, *itertools.islice(rest, _SAMPLE)]
    widths = [max(len(row[at]) for row in sample) for at in range(len(columns))]
    for row in itertools.chain(sample, rest):
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()
