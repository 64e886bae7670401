"""What came in is added up by way."""

from __future__ import annotations

from forwarder.observe.facts import Accepted, Committed, Refused
from forwarder.observe.totals import Total, Totals


def test_each_way_has_its_totals() -> None:
    """Events and bytes that were accepted, requests and lines that were refused; other facts add nothing."""
    totals = Totals()
    for fact in (
        Accepted("http", 3, 1, 300, 0.1),
        Accepted("http", 2, 0, 200, 0.1),
        Refused("stream", "invalid-event", 7),
        Committed(5, 500, 0.1),
    ):
        totals.saw(fact)
    assert totals.ways == {"http": Total(accepted=5, bytes=500), "stream": Total(refused=7)}
