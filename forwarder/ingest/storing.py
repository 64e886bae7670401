"""Store the checked lines of a stream durably, waiting for as long as it takes until the queue has room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forwarder.envelope import Checked, Refused
from forwarder.errors import InvalidEventsError, MalformedError, NoRoomForInvalidError, TooLargeError, UnavailableError
from forwarder.ingest.answers import Answers
from forwarder.ingest.intake import Intake
from forwarder.observe import facts
from forwarder.problems import PROBLEMS

# Seconds between attempts to store while the queue cannot take events.
_RETRY_SECONDS = 1.0

# The problems for which a line can be refused, and their names by status.
_TYPES = [PROBLEMS[error] for error in (MalformedError, InvalidEventsError, TooLargeError)]
_NAMES = {found.status: found.name for found in _TYPES}


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines that were checked together: `first` to `last`, counted from 1 since the connection began."""

    checked: Checked
    refused: list[Refused]
    first: int
    keeps_refused: bool = False
    """Whether refused lines are to be kept as dead letters; if not, the client has already been told of them."""

    @property
    def last(self) -> int:
        return self.first + self.checked.events + len(self.refused) - 1

    def numbers(self) -> list[int]:
        """Return the line numbers of the events in `checked`."""
        refused = {refusal.index for refusal in self.refused}
        return [line for line in range(self.first, self.last + 1) if line - self.first not in refused]


class Storing:
    """Stores the lines of one client.

    `patience` returns for how many more seconds to wait for a queue that cannot take events.
    """

    def __init__(self, intake: Intake, answers: Answers, patience: Callable[[], float], peer: facts.Peer) -> None:
        self._intake = intake
        self._answers = answers
        self._patience = patience
        self._peer = peer

    async def store(self, piece: Piece) -> None:
        """Store the events of a piece. Raises UnavailableError if they cannot be stored in time."""
        if piece.keeps_refused and piece.refused:
            try:
                await self._together(piece.checked, piece.refused)
            except NoRoomForInvalidError:
                await self.refuse(piece.first, piece.refused)
            else:
                return
        try:
            await self._together(piece.checked)
        except TooLargeError:
            await self._apart(piece.checked, piece.numbers())

    async def refuse(self, first: int, refused: Sequence[Refused]) -> None:
        """Tell the client which lines are not stored; the first line of the piece has the number `first`."""
        details = {refusal.status: refusal.detail for refusal in refused}
        for status, count in Counter(refusal.status for refusal in refused).items():
            self._intake.observer.saw(facts.Refused("stream", _NAMES[status], count, self._peer, details[status]))
        for refusal in refused:
            await self._answers.refuse(first + refusal.index, refusal.status, refusal.detail)

    async def _together(self, checked: Checked, invalid: Sequence[Refused] = ()) -> None:
        """Store events together, waiting while the queue cannot take them."""
        waits = False
        while checked.events or invalid:
            try:
                await self._intake.accept("stream", checked, invalid)
                break
            except NoRoomForInvalidError:
                raise
            except UnavailableError as error:
                if (seconds := self._patience()) <= 0:
                    raise
                self._intake.stopped(error, again=waits)
                waits = True
            await self._intake.wait_space(min(_RETRY_SECONDS, seconds))

    async def _apart(self, checked: Checked, numbers: list[int]) -> None:
        """Store events that are too large for the queue together, by halves; refuse those too large even alone."""
        try:
            await self._together(checked)
        except TooLargeError as error:
            if checked.events == 1:
                await self.refuse(numbers[0], [Refused(0, PROBLEMS[TooLargeError].status, error.message, b"")])
                return
            head, tail = checked.split()
            await self._apart(head, numbers[: head.events])
            await self._apart(tail, numbers[head.events :])
