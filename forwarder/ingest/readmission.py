"""Check dead letters once more: those that were kept as invalid, as rules may have changed, and what operators edit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from forwarder.envelope import Checked, Envelope, as_sent, sort_out
from forwarder.errors import (
    EventError,
    InvalidEventsError,
    MalformedError,
    RequestError,
    UnknownLetterError,
)
from forwarder.ingest.intake import Intake
from forwarder.model import INVALID, Burial, DeadFilter, DeadLetter
from forwarder.problems import problem_type
from forwarder.queue.base import Inspection

# The most letters, and about the most bytes of them, that are checked and stored in one step.
_STEP_LETTERS = 256
_STEP_BYTES = 1024 * 1024


class Readmission:
    """Takes dead letters of a queue once more, as the intake takes events."""

    def __init__(self, queue: Inspection, intake: Intake) -> None:
        self._queue = queue
        self._intake = intake

    async def again(self, wanted: DeadFilter) -> int:
        """Accept the wanted letters that pass now; see `readmit`."""
        return await readmit(self._queue, self._intake, wanted)

    async def edited(self, destination: str, number: int, event: bytes) -> None:
        """Accept an edited event in the place of a dead letter; see `readmit_edited`."""
        await readmit_edited(self._queue, self._intake, destination, number, event)


async def readmit(queue: Inspection, intake: Intake, wanted: DeadFilter) -> int:
    """Accept the wanted letters that pass now; return how many. The others stay, with the reason that holds today.

    Raises UnavailableError or TooLargeError.
    """
    if wanted.destination not in {None, INVALID} or wanted.reason not in {None, INVALID}:
        return 0
    total = 0
    async for letters in _steps(queue, replace(wanted, destination=INVALID, reason=INVALID)):
        total += await _again(queue, intake.envelope, letters)
    return total


async def _steps(queue: Inspection, wanted: DeadFilter) -> AsyncIterator[list[DeadLetter]]:
    step, size = list[DeadLetter](), 0
    async for letter in queue.dead_letters(wanted):
        step.append(letter)
        size += len(letter.event)
        if len(step) >= _STEP_LETTERS or size >= _STEP_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step


async def _again(queue: Inspection, envelope: Envelope, letters: list[DeadLetter]) -> int:
    passed, again = list[DeadLetter](), list[tuple[DeadLetter, Burial]]()
    data, routes = b"", list[tuple[str, ...]]()
    for letter in letters:
        found = check(envelope, letter)
        if isinstance(found, Checked):
            passed.append(letter)
            data += found.data
            routes += found.routes
        elif found is not None and (found.status, found.detail) != (letter.status, letter.detail):
            again.append((letter, found))
    if not passed and not again:
        return 0
    segments = Checked.of(data, routes).segments if passed else []
    if await queue.readmit(passed, segments, again):
        return len(passed)
    # Some of these letters have been purged or replayed in the meantime. One by one, those that are left can be stored.
    return sum([await _again(queue, envelope, [letter]) for letter in letters]) if len(letters) > 1 else 0


async def readmit_edited(queue: Inspection, intake: Intake, destination: str, number: int, event: bytes) -> None:
    """Put an edited event in the place of a dead letter, at the end of its queue, if it passes as at the intake.

    What never was an event goes wherever it matches; an event only goes where it had been accepted for.

    Raises UnknownLetterError, InvalidEventsError, MalformedError, TooLargeError or UnavailableError.
    """
    found = [letter async for letter in queue.dead_letters(DeadFilter(destination, after=number - 1), 1)]
    letter = found[0] if found else None
    if letter is None or letter.id != number:
        raise _unknown(destination, number)
    checked = intake.envelope.parse(event)
    if checked.events != 1:
        raise MalformedError(f"one event is wanted, not {checked.events}", hint="send one JSON object")
    if destination == INVALID:
        is_there = await queue.readmit([letter], checked.segments)
    elif destination not in checked.routes[0]:
        words = f"the event does not match destination {destination} any more (destinations.{destination}.match)"
        raise InvalidEventsError([EventError(0, "", words)])
    else:
        is_there = await queue.replay_as(letter, checked.data.removesuffix(b"\n"))
    if not is_there:
        raise _unknown(destination, number)


def _unknown(destination: str, number: int) -> UnknownLetterError:
    return UnknownLetterError(
        f"destination {destination} has no dead letter {number}", hint="it may have been replayed or purged meanwhile"
    )


def check(envelope: Envelope, letter: DeadLetter) -> Checked | Burial | None:
    """Return the events of a letter, or why it is still invalid; None if not all of its text was kept."""
    sent = as_sent(letter.event)
    if sent is None:
        return None
    try:
        # Most letters were sent as a line and are checked as one, so that the reason is worded as before. An array is
        # not a line, nor is a text with a newline.
        is_line = sent[:1] != b"[" and b"\n" not in sent
        checked, refused = sort_out(envelope, sent, are_lines=is_line)
    except RequestError as error:
        return Burial(INVALID, problem_type(type(error)).status, error.message)
    return Burial(INVALID, refused[0].status, refused[0].detail) if refused else checked
