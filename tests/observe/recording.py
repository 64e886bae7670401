"""An observer that remembers what it was told."""

from __future__ import annotations

from forwarder.observe.facts import Fact


class Recording:
    """Keeps every fact, in order."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def saw(self, fact: Fact) -> None:
        self.facts.append(fact)
