"""Whether a destination may be sent to just now: backing off, held, paused, draining.

All deliveries of a destination pass the same gate, so after a failure none of them sends before
the wait is over. How long that wait is, others decide; how many may pass at a time, the pipeline shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from forwarder.delivery.pipeline import Pipeline, Place, Stage
from forwarder.delivery.rate import Rate
from forwarder.model import State

# What is being waited for, in words for people.
BACKOFF = "the end of the back-off"
RETRY_AFTER = "the end of the time that the destination asked for"
MENDING = "somebody to mend it; a replaced key or certificate, or a reload, is tried at once"
ANY_TAKEN = "any event that is taken; what comes in meanwhile is tried, and so is everything after a reload"
STORAGE = "the storage of the queue, which could not be read"


class Gate:
    """Opens and closes for one destination, and rings for everybody who waits."""

    def __init__(self, pipeline: Pipeline, rate: Rate, *, paused: bool = False) -> None:
        self.pipeline = pipeline
        self._rate = rate
        self._not_before = 0.0
        self._is_held = False
        self._waits_for = ""
        self._is_paused = paused
        self._is_retired = False
        self._recalls = 0
        self.is_narrow = False
        """Whether only one request may go at a time: batches that are not being sent go back."""
        self.is_draining = False
        self.wants_all = False
        """Whether what waits is to be sent without waiting for more."""

    @property
    def state(self) -> State:
        if self._is_paused:
            return State.PAUSED
        if self._not_before > monotonic():
            return State.HOLDING if self._is_held else State.BACKING_OFF
        return State.DELIVERING if self.pipeline else State.IDLE

    @property
    def next_attempt_in(self) -> float | None:
        """Seconds until the next attempt, or None where none is being waited for."""
        left = self._not_before - monotonic()
        return left if left > 0 and not self._is_paused else None

    @property
    def waiting_for(self) -> str | None:
        """What is being waited for before the next attempt, in words for people; None where nothing is."""
        if self._is_paused:
            return "an operator, who paused it: forwarder queue resume"
        return self._waits_for if self._not_before > monotonic() else None

    # --- told by deliveries --------------------------------------------------------------------

    def close_for(self, seconds: float, *, held: bool, waiting_for: str = BACKOFF) -> None:
        """Let nobody send for so many seconds, or for longer if another delivery has said so before; end a drain.

        `waiting_for` says in words for people what is hoped for meanwhile.
        """
        until = monotonic() + seconds
        if until >= self._not_before:
            self._not_before, self._is_held, self._waits_for = until, held, waiting_for
        self.wants_all = self.is_draining
        self._is_retired = self._is_retired or self.is_draining
        self.pipeline.ring()

    def open(self) -> None:
        """End a wait."""
        self._not_before = 0.0
        self._is_held = False
        self.pipeline.ring()

    def narrow(self, is_narrow: bool) -> None:
        """Let only one request go at a time, or again as many as may be in flight."""
        self.is_narrow = is_narrow
        self.pipeline.ring()

    # --- told by people ------------------------------------------------------------------------

    def flush(self) -> None:
        """Open, and send what waits at once."""
        self.wants_all = True
        self.open()

    def pause(self) -> None:
        self._is_paused = True
        self.pipeline.ring()

    def resume(self) -> None:
        self._is_paused = False
        self.open()

    def drain(self) -> None:
        """Send what waits, and end where something would have to be waited for."""
        self.is_draining = self.wants_all = True
        self.pipeline.ring()

    def retire(self) -> None:
        """Begin nothing more; what is being sent is finished."""
        self._is_retired = self.is_draining = True
        self.pipeline.ring()

    async def wait_alone(self) -> None:
        """Return when no delivery is left."""
        while self.pipeline:
            await self.pipeline.wait()

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Call back every batch that is not being sent, and let none be leased meanwhile."""
        self._recalls += 1
        self.pipeline.ring()
        try:
            yield
        finally:
            self._recalls -= 1
            self.pipeline.ring()

    async def wait_recalled(self, timeout: float) -> None:
        """Return when nothing is left but what is being sent, or after `timeout` seconds."""
        end = monotonic() + timeout
        while not self.pipeline.is_recalled and (left := end - monotonic()) > 0:
            await self.pipeline.wait(left)

    # --- asked by those who take and send ------------------------------------------------------

    async def may_take(self) -> bool:
        """Return True once a batch may be leased, or the gate is narrow, and False when there will be no more."""
        while True:
            is_closed = self._not_before > monotonic()
            if self.is_draining and (self.is_stopped or is_closed):
                return False
            if not self.is_stopped and (self.is_narrow or not is_closed):
                return True
            await self.pipeline.wait(self.next_attempt_in)

    async def begin(self, place: Place, in_flight: int) -> bool:
        """Wait for the turn of a delivery, then for a slot, and take that; return False if its batch is to go back.

        A slot comes free with the answer. Only one delivery more may be without its settlement: that
        bounds what a crash can send twice.
        """
        await place.turn.wait()
        while place.stage is Stage.LEASED and not self._is_called_back:
            if self.pipeline.under_way < in_flight and self.pipeline.unsettled <= in_flight:
                self.pipeline.move(place, Stage.WAITING)
                return True
            await self.pipeline.wait()
        return False

    async def may_send(self, *, alone: bool = False, early: bool = False) -> bool:
        """Return True once a batch may be sent, False when it is to be given back.

        `alone` marks the one request that may go while the gate is narrow; `early`, one that does not wait for a
        back-off or a hold to end. A drain gives up rather than wait for those, but it does wait for the rate.
        """
        while not (self.is_stopped if alone else self._is_called_back):
            closed = 0.0 if early else self._not_before - monotonic()
            left = max(closed, self._rate.ready_at - monotonic())
            if left <= 0:
                return True
            if self.is_draining and closed > 0:
                return False
            await self.pipeline.wait(left)
        return False

    async def may_ask(self, in_flight: int) -> bool:
        """Return True once an event that is set aside may be asked about, False when that has to be left for later.

        A question counts as one of the deliveries that may be without a settlement.
        """
        while not self.is_draining and not self.is_stopped:
            left = max(self._not_before, self._rate.ready_at) - monotonic()
            if left <= 0 and self.pipeline.unsettled <= in_flight:
                return True
            await self.pipeline.wait(left if left > 0 else None)
        return False

    @property
    def is_stopped(self) -> bool:
        """Whether nothing may be kept leased but what is being sent."""
        return self._is_retired or self._is_paused or self._recalls > 0

    @property
    def _is_called_back(self) -> bool:
        return self.is_stopped or self.is_narrow
