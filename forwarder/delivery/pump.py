"""Move events from the queue to the destination.

The pump is the only module that knows the whole path. It owns no policy: batching says when to
send, the destination says what came of it, back-off says how long to wait, and the queue keeps
everything that is not settled. Where a batch is refused, or goes on failing, an examination takes
over until full batches are taken again; what it sets aside is asked about beside all else.

One task takes batches; each is then prepared and delivered by a task of its own. At most `in_flight`
are being sent at a time; the next one is ready when a slot comes free, and the one after it is
being taken and prepared. A batch that is not full is taken only when it can be sent at once. A batch
gives up its slot when it has been answered, so the next is sent while its settlement is synced; but no more than
one batch beside those in flight may be without a settlement, which bounds what a crash can send
twice. With one in flight a batch is sent only after the one before it was answered, so order holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from forwarder.delivery.batching import seconds_until_due
from forwarder.delivery.clock import Aging
from forwarder.delivery.delivery import Delivery
from forwarder.delivery.examination import Examination
from forwarder.delivery.expiry import release
from forwarder.delivery.health import Link
from forwarder.delivery.leases import renewed
from forwarder.delivery.policy import Policy
from forwarder.delivery.questions import Questions
from forwarder.delivery.sending import Sending
from forwarder.destination.base import Destination
from forwarder.errors import DiskFullError, StorageError
from forwarder.model import Batch
from forwarder.queue.base import Outbox

# The longest that a pump sleeps without looking: a wake-up can get lost, a timer cannot.
_LOOK_AGAIN = 5.0
# Batches that are taken at a time: asking the queue takes as long as sending to a destination nearby.
_TAKE = 2
# Seconds that a pump which is replaced has to finish what it is sending; what is late is sent again by the next one.
_RETIRE_SECONDS = 5.0
# Seconds that whoever calls batches back waits for them to be in the queue again.
_RECALL_SECONDS = 5.0
# Seconds after which it is looked again whether the questions have had their turn.
_TURN_SECONDS = 1.0
# Seconds before a storage that could not hand out a batch is asked again.
_STORAGE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Pump:
    """Delivers one destination's queue: `run` until `stop`, or until it is cancelled.

    `aging` is handed on from one pump to the next.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        queue: Outbox,
        destination: Destination,
        *,
        aging: Aging | None = None,
        paused: bool = False,
    ) -> None:
        self._name = name
        self._policy = policy
        self._queue = queue
        self._given_back = 0
        # Set when the batch that was taken last has passed the gate, or has been given back.
        self._last = asyncio.Event()
        self._last.set()
        # What is being sent, by the task that sends it.
        self._sending_now: set[asyncio.Task[None]] = set()
        self.link = Link(policy, aging or Aging(), wake=lambda: queue.wake(name), paused=paused)
        self._sending = Sending(name, policy, destination, self.link)

    # --- steering ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waits now, without waiting for a batch to fill or a back-off to end."""
        self.link.gate.flush()

    def pause(self) -> None:
        """Send nothing more until `resume`; what is being sent is finished."""
        self.link.gate.pause()

    def resume(self) -> None:
        """Go on, and try at once what was held."""
        self.link.resume()

    @asynccontextmanager
    async def recalled(self) -> AsyncIterator[None]:
        """Have everything but what is being sent at this moment back in the queue, and take nothing meanwhile."""
        with self.link.gate.recalled():
            await self.link.gate.wait_recalled(_RECALL_SECONDS)
            release(self._name, self._queue, self.link.suspects.clear())
            yield

    def stop(self) -> None:
        """Deliver what waits, but end at the first failure instead of waiting."""
        self.link.gate.drain()

    def retire(self) -> None:
        """Finish what is being sent, if that takes no more than a moment, and end; another pump takes over."""
        self.link.gate.retire()
        asyncio.get_running_loop().call_later(_RETIRE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        for task in self._sending_now:
            task.cancel()

    # --- taking and sending --------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until stopped. Cancelled, it leaves what is unsettled in the queue."""
        try:
            async with renewed(self._name, self._queue), asyncio.TaskGroup() as tasks:
                questions = tasks.create_task(Questions(self._queue, self._sending).run(), name=f"ask-{self._name}")
                await self._run(tasks)
                questions.cancel()
        finally:
            release(self._name, self._queue, self.link.suspects.clear())

    async def _run(self, tasks: asyncio.TaskGroup) -> None:
        given_back = self._given_back
        while await self._is_due():
            if self.link.triage.is_needed:
                examination = tasks.create_task(Examination(self._queue, self._sending).run())
                self._track(examination)
                await asyncio.wait([examination])
                continue
            if given_back != self._given_back:
                # What was taken last goes back as well; what is taken before it has would have to follow it.
                await self._last.wait()
                given_back = self._given_back
                continue
            before = self._last
            for delivery in await self._take():
                before, self._last = self._last, asyncio.Event()
                way = self._deliver(delivery, given_back, before, self._last)
                task = tasks.create_task(way, name=f"deliver-{self._name}")
                self._track(task)
                # Not in the task itself: one that is cancelled before its first step runs nothing.
                task.add_done_callback(partial(self._ended, delivery, self._last))
            # One stays ready for the slot that comes free next; others are taken meanwhile.
            await before.wait()

    def _track(self, task: asyncio.Task[None]) -> None:
        self._sending_now.add(task)
        task.add_done_callback(self._sending_now.discard)

    async def _take(self) -> list[Delivery]:
        """Take a batch, or as many as there are full ones for: that is one question to the queue."""
        batches: list[Batch] = []
        # Whoever recalls all batches waits for these, too.
        self.link.gate.took(_TAKE)
        try:
            limits = self.link.limits(self._queue.pending(self._name).events)
            batches = await self._queue.take(self._name, limits, _TAKE)
        except (DiskFullError, StorageError) as error:
            log.error("batch.not_taken", destination=self._name, reason=error.message, hint=error.hint)  # noqa: TRY400
            self.link.gate.close_for(_STORAGE_SECONDS, held=False)
        finally:
            self.link.gate.left(_TAKE - len(batches))
        return [Delivery(batch, queue=self._queue, sending=self._sending) for batch in batches]

    async def _deliver(self, delivery: Delivery, given_back: int, before: asyncio.Event, passed: asyncio.Event) -> None:
        """Prepare a batch, let it follow the one `before`, and say when it has `passed` the gate, or has not."""
        await delivery.prepare()
        await before.wait()
        may_go = await self.link.gate.may_begin(self._policy.in_flight)
        # Has an older batch gone back to the queue meanwhile, it must go first.
        if may_go and given_back == self._given_back:
            self.link.gate.began()
            delivery.has_begun = True
            passed.set()
            await delivery.run()

    def _ended(self, delivery: Delivery, passed: asyncio.Event, _task: asyncio.Task[None]) -> None:
        self._given_back += delivery.give_back()
        if delivery.has_begun:
            self.link.gate.ended(was_answered=delivery.is_answered)
        else:
            self.link.gate.left()
        passed.set()

    async def _is_due(self) -> bool:
        """Wait until a batch is to be taken; return False when there will be no more."""
        gate, suspects = self.link.gate, self.link.suspects
        while await gate.may_take():
            if self.link.triage.is_needed:
                return True
            pending = self._queue.pending(self._name)
            if suspects and suspects.has_turn(pending.events, time.monotonic()) and not gate.is_draining:
                await gate.wait(_TURN_SECONDS)
                continue
            if gate.wants_all:
                if pending.events:
                    return True
                gate.wants_all = gate.is_draining
                if gate.is_draining and not gate.holders:
                    return False
            limits = self.link.limits(pending.events)
            due = seconds_until_due(pending, limits, self._policy.batch.max_age, time.monotonic())
            if due == 0.0:
                if pending.fills(limits) or self._is_free:
                    return True
                # It could not be sent yet, and may fill up while it waits in the queue.
                due = None
            await self._queue.wait(self._name, _LOOK_AGAIN if due is None else min(due, _LOOK_AGAIN), limits)
        return False

    @property
    def _is_free(self) -> bool:
        """Whether a batch that is taken now could be sent at once."""
        return self._last.is_set() and self.link.gate.under_way < self._policy.in_flight
