"""Move events from the queue to the destination.

The pump is the only module that knows the whole path. It owns no policy: batching says when to
send, the destination says what came of it, back-off says how long to wait, and the queue keeps
everything that is not settled. Where a batch is refused, or goes on failing, an examination takes
over until full batches are taken again; what it sets aside is asked about beside all else.

One task leases batches. Each is then prepared, sent and settled by a task of its own, `_deliver`, and the
pipeline shows how far all of them have come. At most `in_flight` are being sent at a time; the next one is ready
when a slot comes free, and those after it are being leased and prepared. A batch that is not full is leased
only when it can be sent at once, as it may fill up meanwhile. A batch leaves its slot when it has been answered, so
the next is sent while its settlement is synced. But no more than one batch beside those in flight may be
without a settlement, which bounds what a crash can send twice. With one in flight a batch is sent only after
the one before it was answered, so order holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from forwarder.delivery.batching import seconds_until_due
from forwarder.delivery.clock import Clock
from forwarder.delivery.delivery import Delivery
from forwarder.delivery.examination import Examination
from forwarder.delivery.expiry import release
from forwarder.delivery.gate import STORAGE
from forwarder.delivery.health import Health
from forwarder.delivery.leases import renewed
from forwarder.delivery.outage import Outage
from forwarder.delivery.pipeline import Pipeline, Place, Stage
from forwarder.delivery.policy import Policy
from forwarder.delivery.questions import Questions
from forwarder.delivery.sending import Sending
from forwarder.destination.base import Destination
from forwarder.errors import StorageError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Leased, Notice, failure_details
from forwarder.queue.base import Outbox

# Seconds that a pump which is replaced has to finish what it is sending; what is late is sent again by the next one.
_RETIRE_SECONDS = 5.0
# Seconds that whoever calls batches back waits for them to be in the queue again.
_RECALL_SECONDS = 5.0
# Seconds between two looks at whether the due questions have been asked.
_TURN_SECONDS = 1.0


class Pump:
    """Delivers one destination's queue: `run` until `stop`, or until it is cancelled.

    `clock` and `outage` are handed on from one pump to the next. Up to `at_once` batches are leased together, as asking
    the queue takes as long as sending to a destination nearby. A storage that could not hand out a batch is asked again
    after `storage_seconds`. No wait is longer than `look_again` seconds: a wake-up can get lost, a timer cannot.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        queue: Outbox,
        destination: Destination,
        observer: Observer,
        *,
        clock: Clock | None = None,
        outage: Outage | None = None,
        paused: bool = False,
        at_once: int = 2,
        storage_seconds: float = 1.0,
        look_again: float = 5.0,
    ) -> None:
        self._name = name
        self._policy = policy
        self._queue = queue
        self._at_once = at_once
        self._storage_seconds = storage_seconds
        self._pipeline = Pipeline(queue.release, lambda: queue.wake(name), look_again)
        self.health = Health(policy, clock or Clock(), self._pipeline, observer, paused=paused, outage=outage)
        self._sending = Sending(name, policy, destination, self.health, lambda: queue.pending(name).events)
        # Ends a run that was retired and takes too long over it; None while nothing runs.
        self._limit: asyncio.Timeout | None = None

    # --- steering ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waits now, without waiting for a batch to fill or a back-off to end."""
        self.health.gate.flush()

    def pause(self) -> None:
        """Send nothing more until `resume`; what is being sent is finished."""
        self.health.gate.pause()

    def resume(self) -> None:
        """Go on, and try at once what was held."""
        self.health.resume()

    @asynccontextmanager
    async def recalled(self) -> AsyncIterator[None]:
        """Have everything but what is being sent at this moment back in the queue, and take nothing meanwhile."""
        with self.health.gate.recalled():
            await self.health.gate.wait_recalled(_RECALL_SECONDS)
            release(self._name, self._queue, self.health.suspects.clear())
            yield

    def stop(self) -> None:
        """Deliver what waits and end; end at the first failure, too, instead of trying again."""
        self.health.gate.drain()

    def retire(self) -> None:
        """Finish what is being sent, if that takes no more than a moment, and end; another pump takes over."""
        self.health.gate.retire()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + _RETIRE_SECONDS)

    # --- the way of a batch --------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until stopped. Cancelled, it leaves what is unsettled in the queue."""
        try:
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(None) as self._limit,
                    renewed(self._name, self._queue, self.health.observer),
                    asyncio.TaskGroup() as tasks,
                ):
                    questions = tasks.create_task(Questions(self._queue, self._sending).run(), name=f"ask-{self._name}")
                    await self._run(tasks)
                    questions.cancel()
        finally:
            self._limit = None
            # A task that is cancelled before its first step does nothing at all: its batch is still there.
            self._pipeline.clear()
            release(self._name, self._queue, self.health.suspects.clear())

    async def _run(self, tasks: asyncio.TaskGroup) -> None:
        while await self._is_due():
            if self.health.triage.is_needed:
                await Examination(self._queue, self._sending).run()
                continue
            for delivery in await self._lease():
                tasks.create_task(self._deliver(delivery), name=f"deliver-{self._name}")
            # One stays ready for the slot that comes free next; others are leased meanwhile.
            await self._pipeline.last_has_turn()

    async def _lease(self) -> list[Delivery]:
        """Lease a batch, or as many as there are full ones for: that is one question to the queue."""
        deliveries: list[Delivery] = []
        # Whoever recalls all batches waits for these, too.
        self._pipeline.enter(leasing := Place(Stage.LEASING))
        try:
            limits = self.health.limits(self._queue.pending(self._name).events)
            began = time.monotonic()
            batches = await self._queue.take(self._name, limits, self._at_once)
            for batch in batches:
                self.health.observer.saw(Leased(self._name, batch.slices, time.monotonic() - began))
            deliveries = [Delivery(batch, queue=self._queue, sending=self._sending) for batch in batches]
        except StorageError as error:
            self.health.observer.saw(Notice("batch.not_taken", failure_details(self._name, error)))
            self.health.gate.close_for(self._storage_seconds, held=False, waiting_for=STORAGE)
        finally:
            self._pipeline.leased(leasing, deliveries)
        return deliveries

    async def _deliver(self, delivery: Delivery) -> None:
        """Take a batch from its lease to its settlement; one that does not get there goes back to the queue."""
        try:
            await delivery.prepare()
            if await self.health.gate.begin(delivery, self._policy.in_flight) and await delivery.send():
                await delivery.settle()
        finally:
            self._pipeline.leave(delivery)

    # --- when to lease -------------------------------------------------------------------------

    async def _is_due(self) -> bool:
        """Wait until a batch is to be leased; return False when there will be no more."""
        gate, suspects = self.health.gate, self.health.suspects
        while await gate.may_take():
            if self.health.triage.is_needed:
                return True
            pending = self._queue.pending(self._name)
            if suspects and suspects.has_turn(pending.events, time.monotonic()) and not gate.is_draining:
                await self._pipeline.wait(_TURN_SECONDS)
                continue
            if gate.wants_all:
                if pending.events:
                    return True
                gate.wants_all = gate.is_draining
                if gate.is_draining and not self._pipeline:
                    return False
            limits = self.health.limits(pending.events)
            due = seconds_until_due(pending, limits, self._policy.batch.max_age, time.monotonic())
            if due == 0.0 and (pending.fills(limits) or self._pipeline.has_free_slot(self._policy.in_flight)):
                return True
            # What is due but could not be sent yet stays in the queue, where it may fill up: a change ends this wait.
            await self._queue.wait(self._name, min(due or self._pipeline.look_again, self._pipeline.look_again), limits)
        return False
