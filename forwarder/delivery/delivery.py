"""One batch on its way to the destination: prepared, sent as a whole until it is taken, settled.

It is repeated with the same bytes. Once it was refused, or has failed three times in a row at a destination
that was reached, it goes back to the queue, and the examination tries it in parts. Whatever
else ends a delivery before its settlement gives the batch back, too.
"""

from __future__ import annotations

from typing import assert_never

from forwarder.delivery.expiry import expire
from forwarder.delivery.pipeline import Place, Stage
from forwarder.delivery.sending import Result, Sending
from forwarder.model import Batch, Outcome
from forwarder.queue.base import Outbox

# Failures of a batch in a row, at a destination that was reached, until it is tried in parts.
_FAILURES = 3


class Delivery(Place):
    """The way of one batch: `prepare` it, `send` it until it is taken, `settle` it."""

    def __init__(self, batch: Batch, *, queue: Outbox, sending: Sending) -> None:
        super().__init__(Stage.LEASED, batch)
        self._batch = batch
        self._queue = queue
        self._sending = sending
        self._health = sending.health
        self._pipeline = sending.health.gate.pipeline
        self._body = b""
        self._failures = 0
        self._was_refused = False

    async def prepare(self) -> None:
        """Have the batch in the form in which it travels."""
        self._body = await self._sending.prepare(self._batch)

    async def send(self) -> bool:
        """Send until the batch is taken; return False where it is to go back to the queue."""
        # The size last: others may have been answered during the wait.
        while await self._health.gate.may_send() and not self._is_too_large:
            self.stage = Stage.SENDING
            result = await self._sending.attempt(self._batch, self._body)
            self.stage = Stage.WAITING
            if not await self._is_to_be_repeated(result):
                return result.outcome is Outcome.DELIVERED
        return False

    async def settle(self) -> None:
        """Leave the slot to the next one, and have the queue record that the batch was taken."""
        if self._was_refused:
            self._sending.contradicted()
        # The queue records it whatever happens here, so it must not be given back any more.
        self.batch, self._body = None, b""
        self._pipeline.move(self, Stage.SETTLING)
        await self._sending.settle(self._queue, self._batch)

    @property
    def _is_too_large(self) -> bool:
        """Whether it is known by now that the destination takes less: others were answered since it was leased."""
        batch, limits = self._batch, self._health.batch_size.limits
        return batch.events > limits.max_events or (batch.events > 1 and len(batch.data) >= limits.max_bytes)

    # --- what the answers ask for --------------------------------------------------------------

    async def _is_to_be_repeated(self, result: Result) -> bool:
        """Do what an answer asks for; return whether to send the batch again, after whatever is to be waited for."""
        batch, answer = self._batch, result.answer
        match answer.outcome:
            case Outcome.DELIVERED:
                return False
            case Outcome.DEFERRED:
                return await self._defer(result)
            case Outcome.HELD:
                self._sending.hold(batch, result)
                return await self._stays()
            case Outcome.TOO_LARGE if batch.events > 1:
                self._sending.too_large(batch, answer)
                return False
            case Outcome.TOO_LARGE | Outcome.REJECTED:
                if not self._sending.is_believed():
                    self._was_refused = True
                    return await self._defer(result)
                self._health.distrust(batch.events, failed=False)
                return False
            case _:
                assert_never(answer.outcome)

    async def _defer(self, result: Result) -> bool:
        """Close the gate for a while; return False where the next attempt is to be in parts."""
        batch, may_be_cut = self._batch, self._sending.may_be_cut(result)
        self._failures = self._failures + 1 if may_be_cut else 0
        self._sending.defer(batch, result)
        if may_be_cut and (self._failures >= _FAILURES or self._sending.is_trial(batch, result)):
            self._sending.learn(batch, result)
            self._health.distrust(batch.events, failed=True)
            return False
        # Nothing is given up for a failure that one event may have caused: the others may only be old because of it. A
        # request that did not get through, or was put off, is the fault of none of them.
        return may_be_cut or await self._stays()

    async def _stays(self) -> bool:
        """Give up what is too old; return False if the batch has such events, which sends it back to the queue."""
        before = self._health.expires_before()
        if before is None:
            return True
        is_old = self._batch.oldest < before
        if is_old:
            self._pipeline.leave(self)
        await expire(self._sending.name, self._queue, self._health)
        return not is_old
