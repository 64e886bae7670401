"""One batch on its way to the destination while all goes well: sent, and sent again, as a whole.

What is to be repeated is repeated with the same bytes. Once a batch was refused, or has failed three
times in a row at a destination that was reached, it goes back to the queue: what becomes of it in
parts is the business of the examination. Whatever is not settled in the end goes back, too.
"""

from __future__ import annotations

from typing import assert_never

from forwarder.delivery.expiry import expire
from forwarder.delivery.sending import Result, Sending
from forwarder.model import Batch, Outcome
from forwarder.queue.base import Outbox

# Failures in a row of a batch, at a destination that was reached, until it is tried in parts.
_FAILURES = 3


class Delivery:
    """The way of one batch: `prepare` it, `run` it, and in any case `give_back` what is left."""

    def __init__(self, batch: Batch, *, queue: Outbox, sending: Sending) -> None:
        self._batch: Batch | None = batch
        self._queue = queue
        self._sending = sending
        self._link = sending.link
        self._body: bytes | None = None
        self._failures = 0
        self._was_refused = False
        self.has_begun = False
        """Whether it has been given a slot."""
        self.is_answered = False
        """Whether it was answered, and only the settlement is left."""

    async def prepare(self) -> None:
        """Have the batch ready to be sent."""
        if self._body is None and self._batch is not None:
            self._body = await self._sending.prepare(self._batch)

    async def run(self) -> None:
        """Send until it is settled, or until it is to be given back."""
        await self.prepare()
        while (batch := self._batch) is not None and self._body is not None:
            # The size last: others may have been answered during the wait.
            if not await self._link.gate.may_send() or self._is_too_large(batch):
                return
            with self._link.gate.sending():
                result = await self._sending.attempt(batch, self._body)
            if not await self._act(batch, result):
                return

    def give_back(self) -> bool:
        """Give the batch back to the queue if it is not settled; return whether it was not."""
        batch, self._batch, self._body = self._batch, None, None
        if batch is not None:
            self._queue.release(batch)
        return batch is not None

    def _is_too_large(self, batch: Batch) -> bool:
        """Whether it is known by now that the destination takes less: others were answered since it was taken."""
        limits = self._link.capacity.limits
        return batch.events > limits.max_events or (batch.events > 1 and len(batch.data) >= limits.max_bytes)

    # --- what the answers ask for --------------------------------------------------------------

    async def _act(self, batch: Batch, result: Result) -> bool:
        """Do what an answer asks for; return whether to go on with this batch."""
        answer, before = result
        match answer.outcome:
            case Outcome.DELIVERED:
                await self._delivered(batch)
                return True
            case Outcome.DEFERRED:
                return await self._defer(batch, result)
            case Outcome.HELD:
                self._sending.log("batch.held", batch, answer, retry_in=self._link.hold(before))
                return await self._stays(batch)
            case Outcome.TOO_LARGE if batch.events > 1:
                self._sending.too_large(batch, answer)
                return False
            case Outcome.TOO_LARGE | Outcome.REJECTED:
                if not self._sending.is_believed():
                    self._was_refused = True
                    return await self._defer(batch, result)
                self._link.distrust(batch.events, failed=False)
                return False
            case _:
                assert_never(answer.outcome)

    async def _delivered(self, batch: Batch) -> None:
        self._batch = self._body = None
        if self._was_refused:
            self._sending.contradicted()
        self.is_answered = True
        self._link.gate.answered()
        await self._queue.settle(batch)

    async def _defer(self, batch: Batch, result: Result) -> bool:
        """Wait before the next attempt; return False where it is to be in parts."""
        may_be_cut = self._sending.may_be_cut(result)
        self._failures = self._failures + 1 if may_be_cut else 0
        seconds = self._link.defer(result.answer, result.failures_before)
        self._sending.log("batch.deferred", batch, result.answer, retry_in=round(seconds, 3))
        if may_be_cut and (self._failures >= _FAILURES or self._sending.is_trial(batch, result)):
            self._sending.learn(batch, result)
            self._link.distrust(batch.events, failed=True)
            return False
        # Others may be old because of one that is not known yet; what does not reach the destination is nobody's fault.
        return may_be_cut or await self._stays(batch)

    async def _stays(self, batch: Batch) -> bool:
        """Give up what is too old; return False where the batch has some of that."""
        before = self._link.expires_before()
        if before is None:
            return True
        is_old = batch.oldest < before
        if is_old:
            self.give_back()
        await expire(self._sending.name, self._queue, self._link)
        return not is_old
