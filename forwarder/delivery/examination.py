"""Carry out what the triage says, one request at a time, until full batches are taken again.

Nothing else is under way meanwhile but the questions about what is set aside. A part that is to be
repeated is kept as it is. A part that is refused or fails goes back to the queue, which keeps the order, and its
events are leased from there in other parts. A single event that is doubted stays leased.

A part that was refused is first checked for damage, as every line must be a JSON object. A line that is
not is buried as `damaged`: it can never be delivered, and has every batch refused that it is sent with.
"""

from __future__ import annotations

import random
import time
from typing import assert_never

from forwarder.delivery.batching import broken_apart
from forwarder.delivery.expiry import expire, release
from forwarder.delivery.pipeline import Place, Stage
from forwarder.delivery.sending import Result, Sending
from forwarder.delivery.suspects import Suspect
from forwarder.delivery.triage import InTurn, Nothing, Probe
from forwarder.errors import StorageError
from forwarder.model import Batch, Burial, Limits, Outcome, State
from forwarder.observe.facts import Notice, failure_details
from forwarder.queue.base import Outbox

# Seconds before a storage that could not hand out a batch is asked again.
_STORAGE_SECONDS = 1.0

# How often a part is repeated as it is after a refusal that is not believed: another server may take it.
_REPEATS = 2

# Seconds between two looks at whether the due questions have been asked.
_TURN_SECONDS = 1.0
_DAMAGED = Burial("damaged", detail="no JSON object on a line of its own: it would have spoilt every batch")


class Examination:
    """One stretch of trouble at one destination: `run` until it is over, or until everything is to be given back."""

    def __init__(self, queue: Outbox, sending: Sending) -> None:
        self._queue = queue
        self._sending = sending
        self._name = sending.name
        self._health = sending.health
        self._triage = sending.health.triage
        self._suspects = sending.health.suspects
        # It runs as the only delivery, and keeps its slot from one request to the next.
        self._place = Place(Stage.WAITING)
        self._part: Batch | None = None
        self._body = b""
        self._repeats = 0
        self._is_probe = False
        # Whether it waits for the destination to be mended, and whether events that come meanwhile are tried.
        self._is_waiting = False
        self._tries_events = False
        self._is_early = False

    async def run(self) -> None:
        """Send until there is no trouble left, or until a stop, a pause or a purge calls everything back."""
        gate = self._health.gate
        await gate.wait_alone()
        gate.pipeline.enter(self._place)
        self._triage.explained()
        try:
            # After this, the queue counts as waiting what the deliveries before gave back.
            await self._give_back()
            while (part := await self._choose()) and await gate.may_send(alone=True, early=self._is_early):
                await self._send(part)
        finally:
            self._release()
            gate.pipeline.leave(self._place)
            gate.narrow(self._triage.is_needed)

    # --- what to send ----------------------------------------------------------------------------

    async def _choose(self) -> Batch | None:
        """Return what to send, and have it prepared; None where there is nothing more."""
        while self._part is None:
            step = await self._next_step()
            if step is None:
                return None
            try:
                self._part = await self._take(step)
            except StorageError as error:
                self._health.observer.saw(Notice("batch.not_taken", failure_details(self._name, error)))
                await self._health.gate.pipeline.wait(_STORAGE_SECONDS)
            if self._part is not None:
                self._body, self._repeats = await self._sending.prepare(self._part), 0
        return self._part

    async def _next_step(self) -> InTurn | Probe | None:
        """Wait for as long as is needed, then return what to send; None where there is nothing more to do."""
        gate = self._health.gate
        self._is_early = False
        while not gate.is_stopped:
            if self._is_waiting and (probe := await self._wait_for_events()) is not None:
                return probe
            waiting = self._queue.pending(self._name).events
            if self._suspects.has_turn(waiting, time.monotonic()) and not gate.is_draining:
                await gate.pipeline.wait(_TURN_SECONDS)
                continue
            most = self._health.limits(waiting).max_events
            step = self._triage.next(waiting, most, random.random())  # noqa: S311 - no secret
            if step is Nothing.DONE:
                return None
            if not isinstance(step, Nothing):
                return step
            await self._hold()
        return None

    async def _take(self, step: InTurn | Probe) -> Batch | None:
        self._is_probe = isinstance(step, Probe)
        if isinstance(step, InTurn):
            limits = Limits(step.events, self._health.batch_size.limits.max_bytes)
            return next(iter(await self._queue.take(self._name, limits)), None)
        found = await self._queue.take_at(self._name, step.position)
        self._triage.reached(step.position, found.position if found else None)
        return found

    async def _hold(self) -> None:
        """Hold the destination: nothing that was tried is taken, so somebody has to mend it."""
        self._triage.hold()
        await self._give_back(keeps_doubt=True)
        self._is_waiting = self._tries_events = True
        error = self._health.last_error
        said = (error.status, error.detail) if error else (None, "")
        seconds = self._health.hold(self._health.failures)
        self._sending.waits(State.HOLDING, None, *said, seconds)
        await expire(self._name, self._queue, self._health)

    async def _wait_for_events(self) -> Probe | None:
        """Wait until the destination may be tried again; return early to try an event that has come meanwhile."""
        gate, known = self._health.gate, self._queue.pending(self._name).events
        while (left := gate.next_attempt_in) is not None and not gate.is_stopped:
            await self._queue.wait(self._name, min(left, gate.pipeline.look_again))
            waiting = self._queue.pending(self._name).events
            probe = self._triage.newest() if waiting > known and self._tries_events else None
            if probe is not None and await self._oldest_is_refused():
                self._is_early = True
                return probe
            known = waiting
        self._is_waiting = False
        await self._give_back()
        return None

    async def _oldest_is_refused(self) -> bool:
        """Try the oldest doubted event once more; return whether it is still refused."""
        if not self._suspects.doubted:
            return True
        oldest, others = self._suspects.recall()
        batch, outcome = None, None
        try:
            for batch in await self._queue.take_again(self._name, [oldest.place.position], 1):
                body = await self._sending.prepare(batch)
                if await self._health.gate.may_send(alone=True, early=True):
                    outcome = (await self._attempt(batch, body)).outcome
        finally:
            if outcome is Outcome.DELIVERED:
                release(self._name, self._queue, others)
            else:
                self._suspects.doubted += [oldest, *others]
        if batch is not None and outcome is Outcome.DELIVERED:
            self._is_probe = False
            await self._taken(batch)
        return outcome in {Outcome.REJECTED, Outcome.TOO_LARGE}

    # --- what came of it -------------------------------------------------------------------------

    async def _send(self, part: Batch) -> None:
        result = await self._attempt(part, self._body)
        match result.outcome:
            case Outcome.DELIVERED:
                await self._taken(part)
            case Outcome.HELD:
                self._sending.hold(part, result)
                # After that wait the reason for an answer may be another one, so what was doubted is tried anew.
                await self._give_back(keeps_part=not self._is_probe and self._health.expires_before() is None)
                await expire(self._name, self._queue, self._health)
            case Outcome.DEFERRED:
                await self._deferred(part, result)
            case Outcome.TOO_LARGE | Outcome.REJECTED:
                await self._refused(part, result)
            case _:
                assert_never(result.outcome)

    async def _attempt(self, part: Batch, body: bytes) -> Result:
        self._place.stage = Stage.SENDING
        result = await self._sending.attempt(part, body)
        self._place.stage = Stage.WAITING
        if result.outcome in {Outcome.HELD, Outcome.DEFERRED}:
            # It may have said when to come back: try nothing before that.
            self._tries_events = False
        return result

    async def _taken(self, part: Batch) -> None:
        self._part = None
        if self._triage.is_held:
            self._health.gate.open()
        if (refused := self._triage.taken(part, is_probe=self._is_probe)) is not None:
            self._sending.taken_in_parts(*refused)
        await self._sending.settle(self._queue, part)

    async def _refused(self, part: Batch, result: Result) -> None:
        if await self._bury_damaged(part):
            return
        if self._sending.is_too_large_alone(result, part):
            self._part = None
            self._triage.explained()
            await self._sending.settle(self._queue, part, self._sending.burial(result))
        elif not self._sending.is_believed():
            await self._deferred(part, result)
        else:
            by_size = result.outcome is Outcome.TOO_LARGE and part.events > 1
            if by_size:
                self._sending.too_large(part, result.answer)
            if self._triage.refused(part, is_probe=self._is_probe, by_size=by_size):
                self._doubt(part, result)
            else:
                await self._give_back(keeps_doubt=True)

    async def _deferred(self, part: Batch, result: Result) -> None:
        may_be_cut = self._sending.may_be_cut(result)
        if result.outcome is not Outcome.DEFERRED and part.events > 1 and self._repeats < _REPEATS:
            # Another of its servers may take the same part.
            self._repeats += 1
        elif may_be_cut:
            self._sending.learn(part, result)
            if self._triage.failed(part, self._queue.pending(self._name).events):
                self._health.count(result.failures_before)
                self._doubt(part, result)
                return
            await self._give_back()
        elif self._is_probe or self._health.expires_before() is not None:
            await self._give_back()
        self._sending.defer(part, result)
        if not may_be_cut or self._triage.is_general:
            await expire(self._name, self._queue, self._health)

    def _doubt(self, part: Batch, result: Result) -> None:
        """Keep the place of a single event that was refused or failed."""
        self._part = None
        is_failure = result.outcome is Outcome.DEFERRED or not self._sending.is_believed()
        suspect = Suspect(part.slices[0], self._sending.burial(result))
        self._suspects.doubt(suspect, time.monotonic(), failed=is_failure)

    async def _bury_damaged(self, part: Batch) -> bool:
        """Bury the lines of a part that are no JSON object; return whether there were any."""
        broken, whole = broken_apart(part)
        if not broken:
            return False
        self._part = None
        for batch in whole:
            self._queue.release(batch)
        for batch in broken:
            await self._sending.settle(self._queue, batch, _DAMAGED)
        return True

    # --- giving back -----------------------------------------------------------------------------

    async def _give_back(self, *, keeps_part: bool = False, keeps_doubt: bool = False) -> None:
        """Give the part and the doubted events back to the queue; return once it counts them as waiting."""
        self._release(keeps_part=keeps_part, keeps_doubt=keeps_doubt)
        await self._queue.take_again(self._name, (), 0)

    def _release(self, *, keeps_part: bool = False, keeps_doubt: bool = False) -> None:
        if self._part is not None and not keeps_part:
            self._queue.release(self._part)
            self._part = None
        if not keeps_doubt:
            release(self._name, self._queue, self._suspects.forgive())
