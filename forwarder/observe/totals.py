"""How much came in since the start, and by which way: an observer that only adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from forwarder.observe.facts import Accepted, Fact, Refused, Way


@dataclass(slots=True)
class Total:
    """What came in by one way."""

    accepted: int = 0
    """Events, whatever the number of their destinations."""
    refused: int = 0
    """Requests over HTTP, lines over the stream."""
    bytes: int = 0
    """Of the events that were accepted."""


class Totals:
    """The totals of each way, on the event loop."""

    def __init__(self) -> None:
        self.ways: dict[Way, Total] = {way: Total() for way in get_args(Way)}

    def saw(self, fact: Fact) -> None:
        """Add what was accepted or refused."""
        match fact:
            case Accepted(way=way):
                self.ways[way].accepted += fact.events
                self.ways[way].bytes += fact.bytes
            case Refused(way=way):
                self.ways[way].refused += fact.number
