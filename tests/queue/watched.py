"""The queue in memory as other stages meet it in tests: open to any destination, and failing when it is told to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from forwarder.errors import ForwarderError
from forwarder.model import INVALID, DeadFilter, DeadLetter, DeadSegment, QueueStats, Segment
from forwarder.queue.base import Appended
from forwarder.queue.memory import Account, Event, MemoryQueue

# The moment at which tests look on, in seconds since the epoch, and when what is queued was accepted.
NOW = 1_700_000_000.0
ACCEPTED_AT = NOW - 60


class WatchedQueue(MemoryQueue):
    """A quarter of it is always used, and everything in it was accepted a minute ago."""

    def __init__(self) -> None:
        super().__init__(64 << 20, accounts=defaultdict(Account))
        self.stats_calls = 0
        self.fails_after: int | None = None
        """After how many events a stream of them fails, or None."""
        self.error: ForwarderError | Exception | None = None

    # --- what tests see and do -----------------------------------------------------------------

    def queued(self, name: str = "main") -> list[bytes]:
        """Return what is queued for a destination."""
        return [event.line.removesuffix(b"\n") for event in self.accounts[name].queued.values()]

    @property
    def dead(self) -> list[DeadLetter]:
        """The dead letters from the oldest on."""
        found = [letter for account in self.accounts.values() for letter in account.dead.values()]
        return sorted(found, key=lambda letter: letter.id)

    def hold(self, name: str, events: Iterable[bytes], *, delivered: int = 0) -> None:
        """Let these events be all that there is of a destination."""
        self.accounts[name] = Account(delivered=delivered)
        self.accounts[name].add(event + b"\n" for event in events)
        self._date()

    def bury(self, **fields: object) -> None:
        """Add a dead letter."""
        number = self._letters = self._letters + 1
        letter = DeadLetter(
            id=number,
            destination="main",
            event_id=f"00000000-0000-4000-8000-{number:012}",
            reason="rejected",
            status=400,
            detail="bad event",
            accepted_at=NOW - 7200,
            died_at=NOW - 3600,
            event=b'{"eventSourceId":"app","eventType":"x"}',
        )
        letter = replace(letter, **fields)  # type: ignore[arg-type]
        self.accounts[letter.destination].dead[number] = letter

    async def readmitted(self, wanted: DeadFilter) -> int:
        """Stand for the intake, which looks at what was invalid again."""
        found = [letter async for letter in self.dead_letters(wanted) if letter.reason == INVALID]
        for letter in found:
            del self.accounts[letter.destination].dead[letter.id]
        return len(found)

    # --- where it differs ----------------------------------------------------------------------

    def _date(self) -> None:
        queued: list[Event] = [event for account in self.accounts.values() for event in account.queued.values()]
        for event in queued:
            event.accepted_at = ACCEPTED_AT

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        places = await super().append(segments, dead)
        self._date()
        return places

    async def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        count = 0
        async for event in super().peek(destination, limit):
            if count == self.fails_after and self.error is not None:
                raise self.error
            count += 1
            yield event

    async def stats(self) -> QueueStats:
        self.stats_calls += 1
        if self.error is not None and self.fails_after is None:
            raise self.error
        return replace(await super().stats(), bytes=512, max_bytes=2048)
