"""What `top` shows, and what its keys do: purely, from what the daemon said and which keys were pressed.

There are three views: all destinations, of which one is selected; the dead letters of that one; and one of these
letters. Each is laid out anew for the size that the terminal has at the moment. What does not fit is left out from
below, but the keys, and what came of the last one, always show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from forwarder.admin.dead import DeadLine
from forwarder.admin.status import DestinationState, Status
from forwarder.cli.dead import describe
from forwarder.cli.overview import Drawing, Line, advice, head, situation, table
from forwarder.cli.text import brief, few, printable

Verb = Literal["pause", "resume", "flush", "dead", "quit"]

# What is kept for the charts: half an hour, at a look every two seconds.
_SAMPLES = 900
_SAMPLE_SECONDS = 1.5
# The most dead letters that are asked for: a few screens.
DEAD_LETTERS = 200
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-=+*%#"
_TITLE = 16
# The heading and some destinations.
_LEAST_ROWS = 7
# ID, when it died, reason, status, event id, detail; as wide as each can be.
_LETTER = "{:>7}  {:<9}  {:<9}  {:>6}  {:<36}  {}"
_STEER: dict[str, Verb] = {"p": "pause", "r": "resume", "f": "flush", "d": "dead", "enter": "dead"}
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1}
_KEYS = {
    "destinations": "up/down select   p pause   r resume   f flush   d dead letters   q quit",
    "letters": "up/down select   enter show   esc back   q quit",
    "letter": "up/down scroll   esc back   q quit",
}


class Act(NamedTuple):
    """What a key asks for; `destination` is empty for `quit`."""

    verb: Verb
    destination: str = ""


class Sample(NamedTuple):
    """How a destination was at one look: events a second since the look before, and what was queued."""

    rate_in: float
    rate_out: float
    queued: int


class Screen:
    """The state of the view."""

    def __init__(self) -> None:
        self.view: Literal["destinations", "letters", "letter"] = "destinations"
        self._note = ""
        """What came of the last key."""
        self._trouble = ""
        """Why the daemon did not answer the last time, or an empty text."""
        self._status: Status | None = None
        self._sampled: Status | None = None
        self._at = 0.0
        """When the last sample was taken."""
        self._samples: dict[str, deque[Sample]] = {}
        self._selected = ""
        self._letters: Sequence[DeadLine] = ()
        self._row = 0
        """The selected letter, or the first line that is shown of one."""
        self._letter = 0
        self._width = 80

    # --- what the daemon said ------------------------------------------------------------------

    def saw(self, status: Status, at: float) -> None:
        """Take in a status; `at` is in monotonic seconds."""
        self._status, self._trouble = status, ""
        # After an act it is asked at once; so short a time makes no sample.
        if self._sampled is None or at - self._at >= _SAMPLE_SECONDS:
            self._sample(status, at)
        if self._selected not in status.destinations:
            self._selected = next(iter(status.destinations), "")

    def _sample(self, status: Status, at: float) -> None:
        before, passed = self._sampled, at - self._at
        samples = {}
        for name, state in status.destinations.items():
            samples[name] = self._samples.get(name) or deque(maxlen=_SAMPLES)
            old = None if before is None else before.destinations.get(name)
            if old is not None:
                came, went = state.accepted - old.accepted, state.delivered - old.delivered
                samples[name].append(Sample(max(0, came) / passed, max(0, went) / passed, state.queued))
        self._samples, self._sampled, self._at = samples, status, at

    def failed(self, reason: str) -> None:
        """Say that the daemon does not answer; what it said last stays."""
        self._trouble = f"not up to date: {printable(reason)}"

    def note(self, words: str) -> None:
        """Say what came of a key."""
        self._note = printable(words)

    def show_letters(self, destination: str, letters: Sequence[DeadLine]) -> None:
        """Show the dead letters of a destination, if it is still the one that is selected."""
        if destination != self._selected:
            return
        if not letters:
            self.note(f"{destination}: no dead letters")
            return
        self.view, self._letters, self._row = "letters", letters, 0

    # --- what was pressed ----------------------------------------------------------------------

    def press(self, key: str) -> Act | None:
        """Take in a key, and return what is to be done about it."""
        self._note = ""
        if key == "q":
            return Act("quit")
        if key in {"esc", "left"} and self.view != "destinations":
            self._row = self._letter if self.view == "letter" else 0
            self.view = "letters" if self.view == "letter" else "destinations"
        elif key in _MOVES:
            self._move(_MOVES[key])
        elif self.view == "destinations" and key in _STEER and self._selected:
            return Act(_STEER[key], self._selected)
        elif self.view == "letters" and key == "enter":
            self.view, self._letter, self._row = "letter", self._row, 0
        return None

    def _move(self, step: int) -> None:
        if self.view == "destinations":
            names = [*self._status.destinations] if self._status else []
            if names:
                at = names.index(self._selected) + step
                self._selected = names[min(max(0, at), len(names) - 1)]
            return
        last = len(self._letters) - 1 if self.view == "letters" else len(self._letter_lines()) - 1
        self._row = min(max(0, self._row + step), last)

    # --- what is shown -------------------------------------------------------------------------

    def lines(self, height: int, how: Drawing) -> list[Line]:
        """Return so many lines, none wider than `how` says, the last two about the keys."""
        body, self._width = max(0, height - 2), how.width or 80
        views: dict[str, Callable[[int, Drawing], list[Line]]] = {
            "destinations": self._overview,
            "letters": self._list,
            "letter": self._one,
        }
        shown = views[self.view](body, how)[:body]
        shown += [[] for _ in range(body - len(shown))]
        told = (self._note, "bold") if self._note else (self._trouble, "red")
        return [*shown, [told], [(_KEYS[self.view], "dim")]][-height:]

    def _overview(self, height: int, how: Drawing) -> list[Line]:
        if self._status is None:
            return [[("asking the daemon…", "")]]
        top = list(head(self._status, how))[: max(2, height // 3)]
        rows = list(table(self._status.destinations, how))
        state = self._status.destinations.get(self._selected)
        below = [] if state is None else self._about(state, how)
        # What is said of the selected destination goes before others, of which a few are always seen.
        left = max(0, height - len(top) - 1)
        below = below[: max(0, left - min(len(rows), _LEAST_ROWS))]
        room = max(2, left - len(below))
        at = [*self._status.destinations].index(self._selected) if state is not None else 0
        return [*top, [], *_window(rows, at, room), *below]

    def _about(self, state: DestinationState, how: Drawing) -> list[Line]:
        """Return charts of a destination, and what there is to say of it."""
        samples = self._samples.get(self._selected) or deque()
        room = max(1, (how.width or 80) - _TITLE)
        columns = [*samples][-room:]
        charts = (
            ("in/s", few(columns[-1].rate_in) if columns else "-", [sample.rate_in for sample in columns]),
            ("out/s", few(columns[-1].rate_out) if columns else "-", [sample.rate_out for sample in columns]),
            ("queued", few(state.queued), [sample.queued for sample in columns]),
        )
        lines: list[Line] = [[], *situation(self._selected, state, how)]
        for title, value, values in charts:
            lines.append([(f"{title:<7}{value:>7}  ", ""), (chart(values, blocks=how.blocks), "green")])
        return [*lines, *advice(state, how)]

    def _list(self, height: int, how: Drawing) -> list[Line]:
        more = " (the oldest)" if len(self._letters) == DEAD_LETTERS else ""
        title = f"{printable(self._selected)}: {len(self._letters):,} dead letters{more}, the oldest first"
        titles = _LETTER.format("ID", "DIED", "REASON", "STATUS", "EVENT ID", "DETAIL")
        rows: list[Line] = [[(titles[: how.width], "bold")]]
        for letter in self._letters:
            status = "-" if letter.status is None else str(letter.status)
            died = f"{brief(_seconds(letter.died_at, how.now))} ago"
            words = map(printable, (letter.reason, status, letter.event_id, letter.detail))
            rows.append([(_LETTER.format(letter.id, died, *words)[: how.width], "")])
        return [[(title, "bold")], [], *_window(rows, self._row, max(2, height - 2))]

    def _one(self, height: int, _how: Drawing) -> list[Line]:
        return [[(line, "")] for line in self._letter_lines()[self._row :][:height]]

    def _letter_lines(self) -> list[str]:
        """Return the letter, its lines broken to the width of the screen."""
        lines = describe(self._letters[self._letter]).splitlines()
        return [line[at : at + self._width] for line in lines for at in range(0, max(1, len(line)), self._width)]


def _window(rows: list[Line], at: int, room: int) -> list[Line]:
    """Return the heading and as many rows as there is room for, the selected one among them, marked."""
    heading, *rest = rows
    fits = max(1, room - 1)
    first = min(max(0, at - fits // 2), max(0, len(rest) - fits))
    marked = [[(words, f"{style} reverse".strip()) for words, style in line] for line in rest[at : at + 1]]
    rest[at : at + 1] = marked
    return [heading, *rest[first : first + fits]]


def _seconds(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def chart(values: Sequence[float], *, blocks: bool) -> str:
    """Return a character for each value, the higher the more; what is not nothing can be told from nothing."""
    marks = _BLOCKS if blocks else _PLAIN
    most = max(values, default=0)
    if most <= 0:
        return marks[0] * len(values)
    top = len(marks) - 1
    return "".join(marks[0 if value <= 0 else max(1, round(value / most * top))] for value in values)
