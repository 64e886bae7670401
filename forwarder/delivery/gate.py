"""Whether a destination may be sent to just now: backing off, held, paused, draining.

All deliveries of a destination pass the same gate, so after a failure none of them sends before
the wait is over. The gate decides nothing about how long to wait; it is told.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

# The longest wait that is not looked at again: a wake-up can get lost, a timer cannot.
_LOOK_AGAIN = 5.0


class State(enum.Enum):
    """What a destination is doing, in the words of the status."""

    IDLE = "idle"
    DELIVERING = "delivering"
    BACKING_OFF = "backing_off"
    HOLDING = "holding"
    PAUSED = "paused"


class Gate:
    """Opens and closes for one destination. `wake` is called whenever a taker should look again."""

    def __init__(self, wake: Callable[[], None], *, paused: bool = False) -> None:
        self._wake = wake
        self._changed = asyncio.Event()
        self._not_before = 0.0
        self._is_held = False
        self._is_paused = paused
        self._is_retired = False
        self._recalls = 0
        self._sending = 0
        self.holders = 0
        """Batches that are held on their way: signed, waiting, or being sent."""
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
        """Let nobody send for so long."""
        self._not_before = monotonic() + seconds
        self._is_held = held
        self.wants_all = False
        self._notify()

    def open(self) -> None:
        """Let everybody send again."""
        self._not_before = 0.0
        self._is_held = False

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count one attempt that is under way."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    def left(self) -> None:
        """Take note that a batch is no longer held."""
        self.holders -= 1
        self._notify()

    # --- told by people ------------------------------------------------------------------------

    def flush(self) -> None:
        """Open, and send what waits at once."""
        self.open()
        self.wants_all = True
        self._notify()

    def pause(self) -> None:
        self._is_paused = True
        self._notify()

    def resume(self) -> None:
        self._is_paused = False
        self.open()
        self._notify()

    def drain(self) -> None:
        """Send what waits, but end instead of waiting for anything."""
        self.is_draining = self.wants_all = True
        self._notify()

    def retire(self) -> None:
        """Send nothing more at all; what is being sent is finished."""
        self._is_retired = self.is_draining = True
        self._notify()

    @contextmanager
    def recalled(self) -> Iterator[None]:
        """Call back every batch that is not being sent, and keep others from being taken."""
        self._recalls += 1
        self._notify()
        try:
            yield
        finally:
            self._recalls -= 1
            self._notify()

    async def wait_recalled(self, timeout: float) -> None:
        """Return when only batches that are being sent are still held, or after `timeout` seconds."""
        end = monotonic() + timeout
        while self.holders > self._sending and (left := end - monotonic()) > 0:
            await self._wait(left)

    # --- asked by takers and deliveries --------------------------------------------------------

    async def may_take(self) -> bool:
        """Return True once a batch may be taken, False when there will be no more."""
        while self._is_retired or self._is_paused or self._recalls or self._not_before > monotonic():
            if self.is_draining:
                return False
            await self._wait(self.next_attempt_in or _LOOK_AGAIN)
        return True

    async def may_send(self) -> bool:
        """Return True once a held batch may be sent, False when it is to be given back."""
        while True:
            if self._is_retired or self._is_paused or self._recalls:
                return False
            left = self._not_before - monotonic()
            if left <= 0:
                return True
            if self.is_draining:
                return False
            await self._wait(left)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), min(seconds, _LOOK_AGAIN))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._wake()
