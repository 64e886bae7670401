"""Who is told what happened."""

from __future__ import annotations

from typing import Protocol

import structlog

from forwarder.observe.facts import Fact

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Somebody who is told every fact, and makes of it what it likes."""

    def saw(self, fact: Fact) -> None:
        """Take note of a fact, at once: it may neither wait nor raise.

        The queue tells what it meets on its own thread from there, so this must be safe to call from any thread.
        """


class Observers:
    """Tells several observers, in order. A bug in one of them stops neither the others nor the events."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def add(self, observer: Observer) -> None:
        """Tell one more, after the others, from now on."""
        self._observers = (*self._observers, observer)

    def saw(self, fact: Fact) -> None:
        """Tell all of them."""
        for observer in self._observers:
            try:
                observer.saw(fact)
            except Exception:
                log.exception("observer.failed", observer=type(observer).__name__, fact=type(fact).__name__)
