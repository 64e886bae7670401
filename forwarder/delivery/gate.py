"""Whether a destination may be sent to just now: backing off, held, paused, draining.

All deliveries of a destination pass the same gate, so after a failure none of them sends before
the wait is over. The gate decides nothing about how long to wait; it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from forwarder.delivery.rate import Rate
from forwarder.model import State

# The longest wait that is not looked at again: a wake-up can get lost, a timer cannot.
_LOOK_AGAIN = 5.0


class Gate:
    """Opens and closes for one destination. `wake` is called whenever a taker should look again."""

    def __init__(self, wake: Callable[[], None], rate: Rate, *, paused: bool = False) -> None:
        self._wake = wake
        self._rate = rate
        self._changed = asyncio.Event()
        self._not_before = 0.0
        self._is_held = False
        self._is_paused = paused
        self._is_retired = False
        self._recalls = 0
        self._sending = 0
        self.holders = 0
        """Batches that are held on their way: being taken or signed, waiting, or being sent."""
        self.under_way = 0
        """Deliveries that have begun and are not answered yet."""
        self.unsettled = 0
        """Deliveries that have begun and not ended."""
        self.is_narrow = False
        """Whether only one request after the other may go: batches that are not being sent go back."""
        self.is_draining = False
        self.wants_all = False
        """Whether what waits is to be sent without waiting for more."""

    @property
    def state(self) -> State:
        if self._is_paused:
            return State.PAUSED
        if self._not_before > monotonic():
            return State.HOLDING if self._is_held else State.BACKING_OFF
        return State.DELIVERING if self.holders else State.IDLE

    @property
    def next_attempt_in(self) -> float | None:
        """Seconds until the next attempt, or None where none is being waited for."""
        left = self._not_before - monotonic()
        return left if left > 0 and not self._is_paused else None

    # --- told by deliveries --------------------------------------------------------------------

    def close_for(self, seconds: float, *, held: bool) -> None:
        """Let nobody send for so long, and for as long as another delivery has said before; end a drain."""
        until = monotonic() + seconds
        if until >= self._not_before:
            self._not_before, self._is_held = until, held
        self.wants_all = self.is_draining
        self._is_retired = self._is_retired or self.is_draining
        self.notify()

    def open(self) -> None:
        """End a wait."""
        self._not_before = 0.0
        self._is_held = False
        self.notify()

    def narrow(self, is_narrow: bool) -> None:
        """Let only one request after the other go, or as many as may be in flight again."""
        self.is_narrow = is_narrow
        self.notify()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count one attempt that is under way."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    def took(self, batches: int = 1) -> None:
        """Take note that batches are being taken."""
        self.holders += batches

    def began(self) -> None:
        """Take note that a delivery begins."""
        self.under_way += 1
        self.unsettled += 1
        self.notify()

    def answered(self) -> None:
        """Take note that a delivery has nothing more to send; the next one may begin while it is settled."""
        self.under_way -= 1
        self.notify()

    def ended(self, *, was_answered: bool) -> None:
        """Take note that a delivery has ended."""
        self.under_way -= not was_answered
        self.unsettled -= 1
        self.left()

    def left(self, batches: int = 1) -> None:
        """Take note that batches are no longer held."""
        self.holders -= batches
        self.notify()

    # --- told by people ------------------------------------------------------------------------

    def flush(self) -> None:
        """Open, and send what waits at once."""
        self.open()
        self.wants_all = True
        self.notify()

    def pause(self) -> None:
        self._is_paused = True
        self.notify()

    def resume(self) -> None:
        self._is_paused = False
        self.open()
        self.notify()

    def drain(self) -> None:
        """Send what waits, but end instead of waiting for anything."""
        self.is_draining = self.wants_all = True
        self.notify()

    def retire(self) -> None:
        """Begin nothing more; what is being sent is finished."""
        self._is_retired = self.is_draining = True
        self.notify()

    async def wait_alone(self) -> None:
        """Return when no batch is held any more."""
        while self.holders:
            await self.wait(_LOOK_AGAIN)

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Call back every batch that is not being sent, and keep others from being taken."""
        self._recalls += 1
        self.notify()
        try:
            yield
        finally:
            self._recalls -= 1
            self.notify()

    async def wait_recalled(self, timeout: float) -> None:
        """Return when only batches that are being sent are still held, or after `timeout` seconds."""
        end = monotonic() + timeout
        while self.holders > self._sending and (left := end - monotonic()) > 0:
            await self.wait(left)

    # --- asked by takers and deliveries --------------------------------------------------------

    async def may_take(self) -> bool:
        """Return True once a batch may be taken, or the gate is narrow, and False when there will be no more."""
        while True:
            is_closed = self._not_before > monotonic()
            if self.is_draining and (self.is_stopped or is_closed):
                return False
            if not self.is_stopped and (self.is_narrow or not is_closed):
                return True
            await self.wait(self.next_attempt_in or _LOOK_AGAIN)

    async def may_begin(self, in_flight: int) -> bool:
        """Return True once fewer deliveries are under way, False when a batch that was taken is to be given back.

        Only one delivery more may be without its settlement: that bounds what a crash can send twice.
        """
        while not self._is_called_back:
            if self.under_way < in_flight and self.unsettled <= in_flight:
                return True
            await self.wait(_LOOK_AGAIN)
        return False

    async def may_send(self, *, alone: bool = False, early: bool = False) -> bool:
        """Return True once a batch may be sent, False when it is to be given back.

        `alone` is what goes while the gate is narrow; what is `early` does not wait until the gate opens.
        """
        while not (self.is_stopped if alone else self._is_called_back):
            closed = 0.0 if early else self._not_before - monotonic()
            left = max(closed, self._rate.ready_at - monotonic())
            if left <= 0:
                return True
            if self.is_draining and closed > 0:
                return False
            await self.wait(left)
        return False

    async def may_ask(self, in_flight: int) -> bool:
        """Return True once an event that is set aside may be asked about, False when it is not to be for now.

        It is one of the deliveries that may be without a settlement.
        """
        while not self.is_draining and not self.is_stopped:
            left = max(self._not_before, self._rate.ready_at) - monotonic()
            if left <= 0 and self.unsettled <= in_flight:
                return True
            await self.wait(left if left > 0 else _LOOK_AGAIN)
        return False

    @property
    def is_stopped(self) -> bool:
        """Whether nobody may hold anything that is not being sent."""
        return self._is_retired or self._is_paused or self._recalls > 0

    @property
    def _is_called_back(self) -> bool:
        return self.is_stopped or self.is_narrow

    async def wait(self, seconds: float) -> None:
        """Return when something has changed, or after so many seconds, or a moment before that."""
        # Not `wait_for`: up to Python 3.11 it loses a cancellation that comes with the wake-up.
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _LOOK_AGAIN)):
                await self._changed.wait()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._wake()
