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
    assert [outage.failed(kind, 60.0) for kind in "ba"] == [True, True]


def test_every_ten_minutes() -> None:
    """While it lasts, it is due again every ten minutes from its begin on."""
    outage = Outage()
    assert not outage.is_due(1e6)
    outage.failed("a wait", 1000.0)
    due = [now for now in range(1000, 3000, 2) if outage.is_due(float(now))]
    assert due == [1600, 2200, 2800]
    outage.end()
    assert not outage.is_due(1e6)


def test_one_that_comes_and_goes_is_told_once_a_minute() -> None:
    """A destination that fails for a moment, a hundred times a minute, is one line a minute and one for its end."""
    outage, begins, ends = Outage(), [], []
    for now in range(180):
        if outage.failed("a wait", float(now)):
            begins.append(now)
        if outage.is_told:
            ends.append(now)
        outage.end()
    assert begins == ends == [0, 60, 120]


def test_one_that_was_left_out_is_told_when_it_lasts() -> None:
    """What begins within a minute of the last one is told after ten seconds, then every ten minutes, and at its end."""
    outage = Outage()
    assert outage.failed("a wait", 0.0)
    outage.end()
    assert not outage.failed("a wait", 20.0)
    assert not outage.is_told
    assert [now for now in range(20, 1300, 2) if outage.is_due(float(now))] == [30, 630, 1230]
    assert outage.is_told
    assert not outage.failed("a wait", 1300.0)


def test_another_kind_that_was_left_out_is_told_later() -> None:
    """A kind of wait that was told in the outage before is told again once a minute has passed."""
    outage = Outage()
    assert outage.failed("held", 0.0)
    outage.end()
    assert outage.failed("failing", 30.0)
    assert [outage.failed("held", float(now)) for now in (35, 59, 65, 95)] == [False, False, True, False]
