"""Single events that were refused, or failed, alone: set aside and asked about until they are delivered or proven bad.

A refusal says something about an event only if the destination takes others. So an event that is
refused alone is *doubted* at first. Once something else is taken it is *set aside*; if nothing is, it returns to
its place in the queue. An event that is set aside is asked about again by itself, each time after something
else was taken, and is *proven* bad by three refusals, each followed by something that was taken.

One of several servers behind an address may refuse everything. To be misled by it, every question would
have to meet that server. So the last question is asked at least twice in a row, as servers that take turns
do not answer both, and as often as it takes for a dozen refusals in a row at this destination, which hardly
happens by chance where servers are chosen at random.

If an event is taken after all that was refused while others were taken, the refusals of this destination
are not believed for a while: they count as failures. An event that *failed* alone (5xx, no answer
in time) is set aside in the same way and asked about after a back-off of its own. It is proven
bad by twenty failures, over at least the longest wait, with something taken between them.

Only the position of a suspect is kept; its bytes are read again for each question. When a process dies, or a
pump ends, all of this is forgotten and nothing is lost: the events are still queued, in their places.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from forwarder.delivery.backoff import Backoff
from forwarder.model import Burial, Slice

# Refusals alone, each followed by something else that was taken, until an event is believed to be bad.
_REFUSALS = 3
# Questions in a row that must all be refused: a chance of 1 in 4,096 where half of the servers refuse everything.
_SURE = 12
# Failures alone until an event is believed to be bad.
_FAILURES = 20
# Seconds for which refusals are not believed once one has turned out to be wrong.
_DISTRUST_SECONDS = 600.0
# The most events that are set aside, and the most runs of neighbouring positions among them: a suspect takes
# some 400 bytes of memory, and each run is a gap in what is settled, which the queue writes with every commit.
_MOST = 32_768
_MOST_RUNS = 1024
# A question counts only after something else was taken. So where little waits in the queue, due questions go before it,
# for so many seconds after each success. Where so many events wait there is enough to go between two questions.
_TURN_SECONDS = 10.0
_MANY = 200
# The least seconds before an event is asked about again merely because time has passed: nobody waits for it.
_LEAST_SECONDS = 1.0
# Events that are buried together.
_BURIED_TOGETHER = 256


@dataclass(slots=True, eq=False)
class Suspect:
    """One event that was refused or failed alone, and what the destination said last."""

    place: Slice
    burial: Burial
    """Why it would become a dead letter: `rejected`, `too_large` or `failing`."""
    refusals: int = 0
    failures: int = 0
    takes: int = 0
    """The value of `Suspects.takes` when it was refused or failed last: if that has grown, others were taken since."""
    since: float = 0.0
    """When it failed first."""
    is_out: bool = False
    """Whether a question about it is under way; then it is in none of the lines."""


class Suspects:
    """What is doubted and what is set aside at one destination. `now` is monotonic everywhere."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.takes = 0
        """How often the destination has taken something."""
        self.doubted: list[Suspect] = []
        self._all: dict[int, Suspect] = {}
        self._runs = 0
        # In the order of their refusals: if something was taken since any of these, it was since the first.
        self._refused: deque[Suspect] = deque()
        self._failed: list[tuple[float, int, Suspect]] = []
        self._pushed = 0
        self._in_a_row = 0
        self._distrusted_until = float("-inf")
        self._turn_until = float("-inf")
        self._idle_at = float("inf")
        self._idle_asked = 0

    def __len__(self) -> int:
        return len(self._all) + len(self.doubted)

    @property
    def is_full(self) -> bool:
        return len(self) >= _MOST or self._runs >= _MOST_RUNS

    def believes(self, now: float) -> bool:
        """Whether a refusal counts as one."""
        return now >= self._distrusted_until

    def distrusted_for(self, now: float) -> float:
        """Return for how many seconds refusals are not believed."""
        return max(0.0, self._distrusted_until - now)

    def any_of(self) -> Suspect | None:
        """Return one to show as an example, or None where there is none."""
        return next(iter(self._all.values()), None) or (self.doubted[0] if self.doubted else None)

    # --- what is seen ---------------------------------------------------------------------------

    def doubt(self, suspect: Suspect, now: float, *, failed: bool) -> None:
        """Doubt an event that was refused or failed alone."""
        suspect.takes = self.takes
        suspect.since = now
        suspect.failures, suspect.refusals = (1, 0) if failed else (0, 1)
        self.doubted.append(suspect)

    def taken(self, now: float) -> int:
        """Note that something was taken, and set aside what was doubted; return how many events that are."""
        self.takes += 1
        if not self._all and not self.doubted:
            return 0
        set_aside = len(self.doubted)
        for suspect in self.doubted:
            self._add(suspect)
            self.put_back(suspect, now)
        self.doubted.clear()
        self._turn_until = now + _TURN_SECONDS
        self._idle_asked = 0
        self._idle_at = now + max(_LEAST_SECONDS, self._backoff.hold(0))
        return set_aside

    def forgive(self) -> list[Suspect]:
        """Stop doubting, as nothing else is taken either; return the events, to be given back to the queue."""
        forgiven, self.doubted = self.doubted, []
        return forgiven

    def recall(self) -> tuple[Suspect, list[Suspect]]:
        """Take out all that is doubted: the oldest event, which is to be tried once more, and the others.

        If the oldest is taken, the destination was mended, and the refusals of the others say nothing any more.
        """
        oldest, *others = sorted(self.forgive(), key=lambda suspect: suspect.place)
        return oldest, others

    def contradicted(self, now: float) -> bool:
        """Note that something was taken that had been refused; return whether refusals were believed until now."""
        believed = self.believes(now)
        self._distrusted_until = now + _DISTRUST_SECONDS
        self._in_a_row = 0
        return believed

    # --- questions ------------------------------------------------------------------------------

    def has_turn(self, waiting: int, now: float) -> bool:
        """Whether due questions go first, while so many events wait in the queue."""
        is_due = bool(self._refused) and self._refused[0].takes < self.takes
        return is_due and waiting < _MANY and now < self._turn_until

    def seconds_until_due(self, now: float) -> float | None:
        """Return after how many seconds `next` has something; None if there is nothing to ask about."""
        if not self._refused and not self._failed:
            return None
        if self._refused and self._refused[0].takes < self.takes:
            return 0.0
        times = [self._idle_at] if self._refused else []
        if self._failed:
            times.append(self._failed[0][0])
        return max(0.0, min(times) - now)

    def next(self, now: float) -> Suspect | None:
        """Take out the next one to be asked about, or buried if it is proven; then `put_back` or `drop` it."""
        found: Suspect | None = None
        if self._refused and self._refused[0].takes < self.takes:
            found = self._refused.popleft()
        elif self._failed and self._failed[0][0] <= now:
            found = heapq.heappop(self._failed)[2]
        elif self._refused and now >= self._idle_at:
            # No other event comes that could be taken. Ask all the same: the destination may have been mended.
            self._idle_asked += 1
            self._idle_at = now + max(_LEAST_SECONDS, self._backoff.hold(self._idle_asked))
            found = self._refused.popleft()
        if found is not None:
            found.is_out = True
        return found

    def is_proven(self, suspect: Suspect, now: float) -> bool:
        """Whether an event is known to be bad."""
        if suspect.takes == self.takes:
            return False
        if suspect.failures >= _FAILURES and now - suspect.since >= self._backoff.max:
            return True
        return suspect.refusals >= _REFUSALS and self.believes(now)

    def also_proven(self, suspect: Suspect, now: float) -> list[Suspect]:
        """Take out others that are proven bad by the same answer: they are buried together."""
        found: list[Suspect] = []
        while self._refused and len(found) < _BURIED_TOGETHER:
            other = self._refused[0]
            if not self.is_proven(other, now) or other.burial != suspect.burial:
                break
            other.is_out = True
            found.append(self._refused.popleft())
        return found

    def refused(self, suspect: Suspect, now: float, *, insisting: bool) -> bool:
        """Note that one was refused again; return whether to ask about it once more at once, which is `insisting`."""
        if insisting:
            self._in_a_row += 1
            again = self._in_a_row < _SURE
        elif suspect.takes < self.takes and suspect.refusals < _REFUSALS:
            self._in_a_row += 1
            suspect.refusals += 1
            suspect.takes = self.takes
            # The last question is asked at least twice.
            again = suspect.refusals >= _REFUSALS
        else:
            # Nothing else was taken since the last refusal, so this one says nothing new; or it is proven already.
            again = False
        if not again:
            self.put_back(suspect, now)
        return again

    def failed(self, suspect: Suspect, now: float, random: float) -> None:
        """Note that one failed, or was refused by a destination whose refusals are not believed."""
        if suspect.failures == 0:
            suspect.since = now
        if suspect.takes < self.takes or suspect.failures == 0:
            suspect.failures += 1
            suspect.takes = self.takes
        suspect.refusals = 0
        self.put_back(suspect, now, random)

    def put_back(self, suspect: Suspect, now: float, random: float = 1.0) -> None:
        """Put one in line for its next question: behind other refused ones, or at a time of its own after a failure."""
        suspect.is_out = False
        if suspect.refusals:
            self._refused.append(suspect)
            return
        seconds = self._backoff.delay(max(1, suspect.failures), retry_after=None, random=random)
        self._push(suspect, now + max(_LEAST_SECONDS, seconds))

    def later(self, suspect: Suspect, now: float) -> None:
        """Leave one for the longest wait: the answer said nothing about the event."""
        suspect.is_out = False
        self._push(suspect, now + self._backoff.max)

    def drop(self, suspect: Suspect) -> None:
        """Forget one that was settled."""
        position = suspect.place.position
        if self._all.pop(position, None) is not None:
            self._runs += (position - 1 in self._all) + (position + 1 in self._all) - 1

    def clear(self) -> list[Suspect]:
        """Forget all that no question is under way about; return them, to be given back to the queue."""
        found = [*self.forgive(), *self._refused, *(suspect for *_, suspect in self._failed)]
        self._refused.clear()
        self._failed.clear()
        for suspect in found:
            self.drop(suspect)
        return found

    def older(self, accepted_before: float) -> list[Suspect]:
        """Forget those that were accepted before a time; return them, to be given back to the queue."""
        old = [one for one in self._all.values() if one.place.accepted_at < accepted_before and not one.is_out]
        for suspect in old:
            self.drop(suspect)
        doubted, self.doubted = self.doubted, []
        for suspect in doubted:
            (old if suspect.place.accepted_at < accepted_before else self.doubted).append(suspect)
        if old:
            self._refused = deque(one for one in self._refused if one.place.position in self._all)
            self._failed = [entry for entry in self._failed if entry[2].place.position in self._all]
            heapq.heapify(self._failed)
        return old

    def _add(self, suspect: Suspect) -> None:
        position = suspect.place.position
        self._runs += 1 - (position - 1 in self._all) - (position + 1 in self._all)
        self._all[position] = suspect

    def _push(self, suspect: Suspect, at: float) -> None:
        self._pushed += 1
        heapq.heappush(self._failed, (at, self._pushed, suspect))
