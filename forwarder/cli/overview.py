"""Lay out what the daemon is doing, in lines of a given width, for `status` and `top`.

A line is a list of words, each with its style, so that whoever prints it decides about colours. In 80 columns there is
room for what tells where events are stuck; a wider screen shows the whole account. Names that do not fit are cut so
that they stay different. Nothing that a destination said is printed as it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from forwarder.admin.status import DestinationState, Status
from forwarder.cli.text import ago, brief, clock, duration, few, printable, shortened, size
from forwarder.model import State

Words = tuple[str, str]
"""A text, and its style: empty, or one of `bold`, `dim`, `red`, `yellow`, `green`."""
Line = list[Words]

_BAR = 20
# What is delivered within so many seconds is no backlog; as in `forwarder.observe.history`.
_UNDER_WAY_SECONDS = 5.0
_LEAST_NAME = 11
_STYLES = {
    "delivering": "green",
    "retrying": "red",
    "backing_off": "red",
    "holding": "red",
    "paused": "yellow",
    "removed": "yellow",
    "invalid": "yellow",
}


class Drawing(NamedTuple):
    """How to draw: `width` in characters (None: as wide as it gets), and whether block characters can be shown."""

    width: int | None
    blocks: bool
    now: datetime


class _Column(NamedTuple):
    title: str
    cell: Callable[[DestinationState, datetime], str]
    extra: bool = False
    """Whether it is shown only where there is room for all."""


def _passed(since: datetime | None, now: datetime) -> str:
    return "-" if since is None else brief((now - since).total_seconds())


def _rate(rate: float | None) -> str:
    return "-" if rate is None else few(rate)


def _draining(state: DestinationState) -> str:
    """Return how long the backlog takes; it `grows` where more comes in than goes out."""
    if state.drain_seconds is not None:
        return brief(state.drain_seconds)
    came, went = state.rate_in or 0.0, state.rate_out or 0.0
    return "grows" if came > went and state.queued > went * _UNDER_WAY_SECONDS else "-"


_COLUMNS = (
    _Column("SINCE", lambda state, now: _passed(state.since, now)),
    _Column("QUEUED", lambda state, _: few(state.queued)),
    _Column("OLDEST", lambda state, _: "-" if state.oldest_age_seconds is None else brief(state.oldest_age_seconds)),
    _Column("IN/s", lambda state, _: _rate(state.rate_in)),
    _Column("OUT/s", lambda state, _: _rate(state.rate_out)),
    _Column("DRAIN", lambda state, _: _draining(state)),
    _Column("DEAD", lambda state, _: few(state.dead)),
    _Column("ACCEPTED", lambda state, _: f"{state.accepted:,}", extra=True),
    _Column("DELIVERED", lambda state, _: f"{state.delivered:,}", extra=True),
    _Column("DROPPED", lambda state, _: f"{state.dropped:,}", extra=True),
)


def state_word(state: DestinationState) -> str:
    """Return what a destination is doing; between two failures it is retrying."""
    if state.attempts and state.state in {State.IDLE, State.DELIVERING}:
        return "retrying"
    return state.state.value


def head(status: Status, how: Drawing) -> Iterator[Line]:
    """Yield what is so of the forwarder as a whole: whether it accepts, its queue, and what it warns of."""
    line: Line = [(f"forwarder {printable(status.version)}, up {duration(status.uptime_seconds)}, ", "")]
    if status.ready:
        yield [*line, ("ready", "green")]
    else:
        yield line
        yield from _wrapped("NOT READY: ", printable(status.not_ready or "the log says why"), how, "red")
    yield from _queue(status, how)
    ways = [
        f"{printable(way)} {few(found.accepted)} accepted, {few(found.refused)} refused, {few(found.connections)} open"
        for way, found in status.intake.items()
    ]
    if ways:
        yield from _wrapped("intake ", "; ".join(ways), how)
    if (refused := status.reload_refused) is not None:
        told = f"RELOAD REFUSED {ago(refused.at, how.now)}, the configuration before it goes on:"
        yield from _wrapped("", told, how, "red")
        for problem in refused.problems:
            yield from _wrapped("  ", printable(problem), how)
    for warning in status.warnings:
        about = "" if warning.destination is None else f"{printable(warning.destination)}: "
        told = f"{about}{printable(warning.detail)} ({printable(warning.key)}, since {clock(warning.since)})"
        yield from _wrapped("WARNING ", told, how, "yellow")
        if warning.hint:
            yield from _wrapped("  next: ", printable(warning.hint), how)


def _queue(status: Status, how: Drawing) -> Iterator[Line]:
    queue = status.queue
    # Full is when somebody is refused, which may be so a little before the last byte.
    share = 1.0 if queue.full else min(1.0, queue.bytes / queue.max_bytes) if queue.max_bytes else 0.0
    used, free = ("█", "░") if how.blocks else ("#", ".")
    bar = (used * round(share * _BAR)).ljust(_BAR, free)
    told = f"queue {bar} {share:.0%} of {size(queue.max_bytes)} ({size(queue.bytes)}, {printable(queue.backend)})"
    yield [(told, ""), (", FULL", "red")] if queue.full else [(told, "")]
    free_bytes = queue.disk_free_bytes
    # The disk is full before the queue is.
    if free_bytes is not None and free_bytes < queue.max_bytes - queue.bytes:
        yield from _wrapped("  ", f"its disk has only {size(free_bytes)} left", how, "yellow")


def table(destinations: dict[str, DestinationState], how: Drawing) -> Iterator[Line]:
    """Yield the heading and a line for each destination."""
    columns, gap, room = _fitted(destinations, how)
    widths = [max(len(cell) for cell in cells) for cells in columns]
    names = ["DESTINATION", *(printable(name) for name in destinations)]
    words = ["STATE", *(state_word(state) for state in destinations.values())]
    room = max(map(len, names)) if room is None else min(room, max(map(len, names)))
    kind = max(map(len, words))
    for row, (name, word) in enumerate(zip(shortened(names, room), words, strict=True)):
        rest = "".join(gap + cells[row].rjust(width) for cells, width in zip(columns, widths, strict=True))
        style = "bold" if row == 0 else ""
        yield [
            (f"{name.ljust(room)}{gap}", style),
            (word.ljust(kind), style or _STYLES.get(word, "")),
            (rest, style),
        ]


def _fitted(destinations: dict[str, DestinationState], how: Drawing) -> tuple[list[list[str]], str, int | None]:
    """Return the cells of each column that fits, the gap between two, and the room for the name."""
    every = [[column.title, *(column.cell(state, how.now) for state in destinations.values())] for column in _COLUMNS]
    if how.width is None:
        return every, "  ", None
    states = max(len("STATE"), *(len(state_word(state)) for state in destinations.values()), 0)
    longest = max(len("DESTINATION"), *(len(printable(name)) for name in destinations), 0)
    some = [cells for cells, column in zip(every, _COLUMNS, strict=True) if not column.extra]
    for cells, gap in ((every, "  "), (some, "  ")):
        room = how.width - _taken(cells, states, gap)
        if room >= longest:
            return cells, gap, room
    return some, " ", max(_LEAST_NAME, how.width - _taken(some, states, " "))


def _taken(columns: list[list[str]], states: int, gap: str) -> int:
    return states + len(gap) + sum(len(gap) + max(len(cell) for cell in cells) for cells in columns)


def details(destinations: dict[str, DestinationState], how: Drawing) -> Iterator[Line]:
    """Yield, for each destination of which there is something to say, why it is so and what to do."""
    for name, state in destinations.items():
        if state.reason is None and state.next_step is None and not state.full:
            continue
        yield from situation(name, state, how)
        yield from advice(state, how)


def situation(name: str, state: DestinationState, how: Drawing) -> Iterator[Line]:
    """Yield what a destination is doing, since when, and what became of events."""
    parts = [f"{state_word(state)}{', FULL' if state.full else ''}"]
    if state.since is not None and state_word(state) not in {State.IDLE, State.DELIVERING}:
        parts.append(f"since {clock(state.since)}")
    if state.attempts:
        parts.append(f"{state.attempts:,} failed in a row")
    if state.next_attempt_in_seconds is not None:
        parts.append(f"next attempt in {duration(state.next_attempt_in_seconds)}")
    if state.dead:
        parts.append(f"{state.dead:,} dead")
    if state.sent_again:
        parts.append(f"duplicates possible of {state.sent_again:,} sent without an answer")
    if state.dropped:
        parts.append(f"{state.dropped:,} dropped")
    yield from _wrapped(f"{printable(name)}: ", ", ".join(parts), how, "bold")


def advice(state: DestinationState, how: Drawing) -> Iterator[Line]:
    """Yield why it is so, and what to do."""
    # What ends a back-off or a pause goes without saying.
    waits = state.waiting_for if state.state is State.HOLDING else None
    found = (("why", state.reason), ("next", state.next_step), ("waits for", waits))
    for title, words in found:
        if words:
            yield from _wrapped(f"  {title}: ", printable(words), how)


def _wrapped(title: str, words: str, how: Drawing, style: str = "") -> Iterator[Line]:
    """Yield a text in as many lines as it takes; only its title, or its first line without one, is in the style."""
    if how.width is None:
        yield [(title, style), (words, "" if title else style)]
        return
    indent = len(title) - len(title.lstrip()) + 2
    # A command that is broken at a hyphen cannot be copied.
    cut = textwrap.TextWrapper(how.width, subsequent_indent=" " * indent, break_on_hyphens=False)
    found = cut.wrap(title + words) or [title + words]
    at = min(len(title), len(found[0]))
    yield [(found[0][:at], style), (found[0][at:], "" if title else style)]
    for line in found[1:]:
        yield [(line, "" if title else style)]


def drawing(width: int | None, encoding: str) -> Drawing:
    """Return how to draw now, on a screen that shows characters of this encoding."""
    try:
        "█░".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return Drawing(width, False, datetime.now(UTC))
    return Drawing(width, True, datetime.now(UTC))
