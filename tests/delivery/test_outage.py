"""One row of failures is one outage, which is told at both ends and every ten minutes."""

from __future__ import annotations

from forwarder.delivery.outage import Outage


def test_from_its_begin_to_its_end() -> None:
    """It begins with a failure and ends when it is said to; in between, it is known how long and how many."""
    outage = Outage()
    assert not outage
    assert outage.seconds(50.0) == 0.0
    assert [outage.failed("a wait", now) for now in (100.0, 101.0)] == [True, False]
    assert outage
    assert (outage.seconds(160.0), outage.attempts) == (60.0, 2)
    outage.end()
    assert not outage
    assert (outage.seconds(160.0), outage.attempts) == (0.0, 0)


def test_each_kind_of_wait_is_news_once() -> None:
    """Another kind of wait is news, however often the two take turns; in the next outage all of them are again."""
    outage = Outage()
    assert [outage.failed(kind, 0.0) for kind in "abab"] == [True, True, False, False]
    outage.end()
    assert [outage.failed(kind, 0.0) for kind in "ba"] == [True, True]


def test_every_ten_minutes() -> None:
    """While it lasts, it is due again every ten minutes from its begin on."""
    outage = Outage()
    assert not outage.is_due(1e6)
    outage.failed("a wait", 1000.0)
    due = [now for now in range(1000, 3000, 2) if outage.is_due(float(now))]
    assert due == [1600, 2200, 2800]
    outage.end()
    assert not outage.is_due(1e6)
