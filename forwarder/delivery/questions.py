"""Ask about events that are set aside: one at a time, each over a new connection, beside whatever else is sent.

A new connection may lead to another of several servers, which may take what the first refused. A question
makes nobody wait, but for the moments in which the suspects have their turn. It counts as one of the
deliveries that may be without a settlement, so it adds nothing to what a crash can send twice.
"""

from __future__ import annotations

import random
import time

from forwarder.delivery.expiry import release
from forwarder.delivery.sending import Sending
from forwarder.delivery.suspects import Suspect
from forwarder.errors import StorageError
from forwarder.model import Batch, Burial, Outcome
from forwarder.observe.facts import Notice, failure_details
from forwarder.queue.base import Outbox

# The most bytes of events that are buried together.
_BURIED_BYTES = 1024 * 1024
# Seconds before a storage that could not hand out an event is asked again.
_STORAGE_SECONDS = 1.0


class Questions:
    """Asks about the suspects of one destination, one after the other: `run` until cancelled."""

    def __init__(self, queue: Outbox, sending: Sending) -> None:
        self._queue = queue
        self._sending = sending
        self._health = sending.health
        self._gate = sending.health.gate
        self._suspects = sending.health.suspects

    async def run(self) -> None:
        """Ask about each event when it is due, and bury those that are proven bad."""
        while True:
            await self._health.set_aside.wait()
            seconds = self._suspects.seconds_until_due(time.monotonic())
            if seconds is None:
                self._health.set_aside.clear()
            elif seconds > 0:
                await self._gate.pipeline.wait(seconds)
            elif await self._gate.may_ask(self._sending.policy.in_flight):
                await self._bury_or_ask_next()
                # Full batches and parts may be waiting for the questions to have had their turn.
                self._gate.pipeline.ring()
            else:
                await self._gate.pipeline.wait()

    async def _bury_or_ask_next(self) -> None:
        suspect = self._suspects.next(time.monotonic())
        if suspect is None:
            return
        try:
            if self._suspects.is_proven(suspect, time.monotonic()):
                await self._bury([suspect, *self._suspects.also_proven(suspect, time.monotonic())])
            else:
                await self._ask(suspect)
        except StorageError as error:
            self._health.observer.saw(Notice("event.not_read", failure_details(self._sending.name, error)))
            await self._gate.pipeline.wait(_STORAGE_SECONDS)
        finally:
            if suspect.is_out:
                self._suspects.put_back(suspect, time.monotonic())

    async def _read(self, suspects: list[Suspect]) -> list[Batch]:
        """Read the events again, as many as are buried together; where none can be read they go back to the queue."""
        positions = [suspect.place.position for suspect in suspects]
        found = await self._queue.take_again(self._sending.name, positions, _BURIED_BYTES)
        if not found:
            for suspect in suspects:
                self._forget(suspect)
            release(self._sending.name, self._queue, suspects)
        return found

    def _forget(self, suspect: Suspect) -> None:
        suspect.is_out = False
        self._suspects.drop(suspect)

    async def _bury(self, suspects: list[Suspect]) -> None:
        """Bury events that were given the same answer."""
        batches = await self._read(suspects)
        read = {batch.position for batch in batches}
        for suspect in suspects:
            if suspect.place.position in read:
                self._forget(suspect)
            elif suspect.is_out:
                self._suspects.put_back(suspect, time.monotonic())
        if batches:
            slices = tuple(part for batch in batches for part in batch.slices)
            joined = Batch(batches[0].destination, slices, b"".join(batch.data for batch in batches))
            await self._sending.settle(self._queue, joined, suspects[0].burial)

    async def _ask(self, suspect: Suspect) -> None:
        for batch in await self._read([suspect]):
            body = await self._sending.prepare(batch)
            is_insisting = False
            while await self._gate.may_ask(self._sending.policy.in_flight):
                with self._gate.pipeline.asking():
                    if not await self._attempt(suspect, batch, body, is_insisting=is_insisting):
                        return
                is_insisting = True

    async def _attempt(self, suspect: Suspect, batch: Batch, body: bytes, *, is_insisting: bool) -> bool:
        """Ask about an event once; return whether to do so again at once."""
        result = await self._sending.attempt(batch, body, fresh=True)
        now, answer, is_refused = time.monotonic(), result.answer, suspect.burial.reason != "failing"
        before = self._health.expires_before()
        if result.outcome is not Outcome.DELIVERED and before is not None and batch.oldest < before:
            self._forget(suspect)
            await self._sending.settle(self._queue, batch, Burial("expired", answer.status, answer.detail))
            return False
        match result.outcome:
            case Outcome.DELIVERED:
                self._forget(suspect)
                if is_refused:
                    self._sending.contradicted()
                await self._sending.settle(self._queue, batch)
            case Outcome.TOO_LARGE if self._sending.is_too_large_alone(result, batch):
                self._forget(suspect)
                await self._sending.settle(self._queue, batch, self._sending.burial(result))
            case Outcome.HELD:
                self._suspects.later(suspect, now)
            case Outcome.DEFERRED if not self._sending.may_be_cut(result):
                self._suspects.later(suspect, now)
            case _:
                suspect.burial = self._sending.burial(result)
                if result.outcome is not Outcome.DEFERRED and self._sending.is_believed():
                    return self._suspects.refused(suspect, now, insisting=is_insisting)
                self._suspects.failed(suspect, now, random.random())  # noqa: S311 - jitter is no secret
        return False
