"""The deliveries of one destination, in the order in which their batches were leased.

Each has a stage, and everything that has to be known about all of them is counted from the stages: how
many have a slot, how many a crash could send twice, whether a purge still has to wait. A delivery
is in the list from before its batch is leased until it is settled or given back.

Batches begin in the order of the list, which is the order of the queue. A batch that goes back to the queue
is older than those behind it. So these go back with it at once, unless they have begun, and are leased
anew after it: with one in flight nothing overtakes.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from forwarder.model import Batch
from forwarder.waiting import wait_at_most


class Stage(enum.IntEnum):
    """How far a delivery has come."""

    LEASING = enum.auto()
    """The queue was asked for its batch."""
    CALLED_BACK = enum.auto()
    """The same, but the batch has to go back as soon as it is there."""
    LEASED = enum.auto()
    """The batch is being signed, or waits for those in front of it, or for a slot."""
    WAITING = enum.auto()
    """It has a slot, and waits until the destination may be sent to."""
    SENDING = enum.auto()
    """A request is under way."""
    SETTLING = enum.auto()
    """It was answered and has left its slot to the next one; the queue has yet to record that."""
    GONE = enum.auto()
    """It is settled, or its batch went back to the queue."""


class Place:
    """A place in the list, and the batch that goes back to the queue should the delivery end now."""

    def __init__(self, stage: Stage, batch: Batch | None = None) -> None:
        self.stage = stage
        self.batch = batch
        self.turn = asyncio.Event()
        """Set once everything in front of it has begun, and when it is gone."""


class Pipeline:
    """The list, and the bell that rings for all who wait for something to change at the destination.

    `release` gives a batch back to the queue. `wake` is called with each ring, for the task that waits at the queue.
    No wait is longer than `look_again` seconds: a wake-up can get lost, a timer cannot.
    """

    def __init__(self, release: Callable[[Batch], None], wake: Callable[[], None], look_again: float = 5.0) -> None:
        self._release = release
        self._wake = wake
        self.look_again = look_again
        self._rung = asyncio.Event()
        self._places: list[Place] = []
        self._is_asking = False

    # --- counted -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._places)

    @property
    def under_way(self) -> int:
        """How many slots are taken: deliveries that have begun and are not answered yet."""
        return sum(Stage.WAITING <= place.stage <= Stage.SENDING for place in self._places)

    @property
    def unsettled(self) -> int:
        """How many batches a crash could send twice, the question about an event that is set aside included."""
        return self._is_asking + sum(Stage.WAITING <= place.stage <= Stage.SETTLING for place in self._places)

    @property
    def events(self) -> int:
        """How many events were leased and are not taken yet."""
        return sum(place.batch.events for place in self._places if place.batch and place.stage <= Stage.SENDING)

    @property
    def is_recalled(self) -> bool:
        """Whether nothing is left but what is being sent at this moment."""
        return all(place.stage is Stage.SENDING for place in self._places)

    def has_free_slot(self, in_flight: int) -> bool:
        """Whether a batch that is leased now could begin at once."""
        return self._first_leased is None and self.under_way < in_flight

    @property
    def _first_leased(self) -> Place | None:
        return next((place for place in self._places if place.stage is Stage.LEASED), None)

    # --- moved ---------------------------------------------------------------------------------

    def enter(self, place: Place) -> None:
        """Put a delivery at the end of the list."""
        self._places.append(place)

    def leased(self, leasing: Place, deliveries: Sequence[Place]) -> None:
        """Put deliveries in the place that was kept for them."""
        at = self._places.index(leasing)
        self._places[at:] = deliveries
        if deliveries and leasing.stage is Stage.CALLED_BACK:
            self.leave(deliveries[0])
        self._pass_on()

    def move(self, place: Place, stage: Stage) -> None:
        """Take a delivery to its next stage."""
        place.stage = stage
        self._pass_on()

    def leave(self, place: Place) -> None:
        """End a delivery. A batch that it still has goes back, with those that were leased later and have not begun."""
        if place.stage is Stage.GONE:
            return
        going = [place]
        if place.batch is not None:
            behind = self._places[self._places.index(place) + 1 :]
            going += [later for later in behind if later.stage <= Stage.LEASED]
        for one in going:
            one.stage = Stage.CALLED_BACK if one.stage < Stage.LEASED else Stage.GONE
            one.turn.set()
            if one.batch is not None:
                self._release(one.batch)
        self._places = [one for one in self._places if one.stage is not Stage.GONE]
        self._pass_on()

    def clear(self) -> None:
        """End all deliveries."""
        for place in self._places:
            self.leave(place)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count a question about an event that is set aside: it has no place in the order."""
        self._is_asking = True
        try:
            yield
        finally:
            self._is_asking = False
            self.ring()

    # --- waited for ----------------------------------------------------------------------------

    async def last_has_turn(self) -> None:
        """Return when at most one batch is ready, and none is in front of it."""
        if self._places:
            await self._places[-1].turn.wait()

    async def wait(self, seconds: float | None = None) -> None:
        """Return at the next ring, or after so many seconds."""
        await wait_at_most(self.look_again if seconds is None else min(seconds, self.look_again), self._rung)

    def ring(self) -> None:
        """Make everybody look whether what they wait for has come."""
        self._rung.set()
        self._rung = asyncio.Event()
        self._wake()

    def _pass_on(self) -> None:
        """Tell the first of those that have not begun that it is its turn, and everybody that something has changed."""
        if (first := self._first_leased) is not None:
            first.turn.set()
        self.ring()
