"""What was accepted, what became of it, and what should not be: the account that is kept outside of the machine.

Producers number their events from 0 and wait for the accept of one request before they send the next, so what
a producer was promised is a number: all events below it. What is queued or dead is known from each look into
the queue, what was delivered from the receiver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.campaigns.power.events import Run, identify


@dataclass(slots=True)
class Producer:
    """One producer; `request` is how many events it hands in at once that are taken as a whole or not at all."""

    request: int
    accepted: int = 0
    delivered: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    last_delivered: int = -1


class Ledger:
    """The account of one queue over all its power cuts."""

    def __init__(self) -> None:
        self._producers: dict[str, Producer] = {}
        self.duplicates = 0
        """Events that the receiver stored a second time."""
        self.troubles: list[str] = []
        """Whatever broke a promise, except losses."""
        self._dropped = 0

    # --- keeping it ----------------------------------------------------------------------------

    def expect(self, name: str, request: int = 1) -> None:
        """Begin the account of a producer."""
        self._producers[name] = Producer(request)

    def accept(self, run: Run) -> None:
        """Count an accept that the producer has read."""
        name, first, count = run
        producer = self._producers[name]
        if first != producer.accepted:
            raise ValueError(f"{name} was promised {producer.accepted} events, and now some from {first} on")
        producer.accepted += count

    def receive(self, texts: Iterable[bytes]) -> None:
        """Count events that the receiver has stored."""
        for text in texts:
            known = identify(text)
            if known is None:
                self.troubles.append(f"an event arrived that nobody sent: {text[:200]!r}")
                continue
            name, number = known
            producer = self._producers[name]
            if number in producer.delivered:
                self.duplicates += 1
                continue
            producer.delivered.add(number)
            if number < producer.last_delivered:
                self.troubles.append(f"{name}: event {number} was delivered after {producer.last_delivered}")
            producer.last_delivered = max(producer.last_delivered, number)

    def check(self, account: Mapping[str, Any]) -> None:
        """Check an account as `GET /v1/status` gives it: the parts make up the whole, and nothing was dropped."""
        parts = {name: account[name] for name in ("queued", "delivered", "dead", "dropped")}
        if account["accepted"] != sum(parts.values()):
            self.troubles.append(f"the account does not add up: {account['accepted']} accepted, {parts}")
        if parts["dropped"] != self._dropped:
            self._dropped = parts["dropped"]
            self.troubles.append(f"{self._dropped} events are counted as dropped")

    # --- what it says --------------------------------------------------------------------------

    @property
    def accepted(self) -> int:
        return sum(producer.accepted for producer in self._producers.values())

    @property
    def lost(self) -> int:
        return sum(len(producer.lost) for producer in self._producers.values())

    def look(self, queued: Iterable[Run], dead: Iterable[Run], stored: int | None = None) -> dict[str, int]:
        """Compare with what is in the queue now; return how many accepted events of each producer are now missing.

        What was missing at an earlier look is not counted again. A request is found as a whole or not at
        all. `stored` is what the queue itself says it has ever accepted; give it once everything is delivered
        or dead, then it is neither more nor less than what is found.
        """
        found = {name: set(producer.delivered) for name, producer in self._producers.items()}
        for name, first, count in [*queued, *dead]:
            found[name].update(range(first, first + count))
        missing: dict[str, int] = {}
        for name, producer in self._producers.items():
            lost = set(range(producer.accepted)) - found[name] - producer.lost
            producer.lost |= lost
            if lost:
                missing[name] = len(lost)
            self._check_requests(name, found[name] | producer.lost)
        total = sum(map(len, found.values()))
        if stored is not None and stored != total:
            self.troubles.append(f"the queue counts {stored} accepted events, {total} are found")
        return missing

    def _check_requests(self, name: str, found: set[int]) -> None:
        """A request that was not accepted may be there all the same, but then all of it."""
        size = self._producers[name].request
        for request in {number // size for number in found}:
            there = len(found.intersection(range(request * size, (request + 1) * size)))
            if there != size:
                self.troubles.append(f"{name}: {there} events of {size} are there of request {request}")
