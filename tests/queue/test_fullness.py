"""Full is when a producer is turned away, and until one is taken or room has become free."""

from __future__ import annotations

import pytest

from forwarder.errors import QueueFullError, ShareFullError
from forwarder.model import Counters, QueueStats
from forwarder.queue.base import Share
from forwarder.queue.fullness import Full, Fullness

QUEUE = QueueFullError("the queue is full: 1,000 bytes (queue.max_bytes)")
SHARE = ShareFullError("the queue of destination main is full", "main")


class Told:
    """A queue of a thousand bytes, at a time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.fullness = Fullness(lambda: self.now, lambda: 5000.0 + self.now)

    def after(self, seconds: float, used: int | None = 1000, shares: dict[str, Share] | None = None) -> Told:
        """Look again after so many seconds, with so many bytes in use of the queue and by the destination main."""
        self.now += seconds
        accounts = {"main": Counters(queued_bytes=(used or 0) - 1, dead_bytes=1)}
        stats = None if used is None else QueueStats("memory", used, 1000, destinations=accounts)
        self.fullness.look(stats, {"main": Share(1000)} if shares is None else shares)
        return self

    @property
    def full(self) -> set[str | None]:
        return {*self.fullness.now()}


def test_nothing_is_full_of_itself() -> None:
    """A queue with no room left is not full before somebody is turned away."""
    told = Told().after(1, used=1000)
    assert not told.fullness
    assert told.full == set()
    assert told.fullness.trouble(["main"]) is None


def test_whom_it_has_cost() -> None:
    """It is known since when, how many requests were refused, and how many streams were stopped, each once."""
    told = Told()
    for _ in range(3):
        told.fullness.refused(QUEUE)
    told.now += 50
    told.fullness.stopped(QUEUE, again=False)
    told.fullness.stopped(QUEUE, again=True)
    told.fullness.stopped(QUEUE, again=False)
    told.fullness.refused(QUEUE)
    assert told.fullness.now() == {None: Full(QUEUE.message, 5100.0, 4, 2, 50.0)}
    assert str(told.fullness.now()[None]) == f"{QUEUE.message}; 4 requests refused, 2 streams stopped"


def test_until_one_is_taken() -> None:
    """The first that is taken ends it, unless somebody was turned away a moment ago."""
    told = Told()
    told.fullness.refused(QUEUE)
    told.now += 60
    told.fullness.took(["main"])
    assert told.full == set()


def test_taken_and_refused_by_turns_is_one_time() -> None:
    """Where producers are faster than the destination it does not come and go; it ends after the last refusal."""
    told = Told()
    for _ in range(100):
        told.fullness.refused(QUEUE)
        told.fullness.took(["main"])
        assert told.after(0.5).full == {None}
    assert told.after(6.4).full == {None}
    assert told.after(0.2).full == set()


def test_clients_that_come_again_when_they_are_told_to() -> None:
    """Refused, taken five seconds later, and refused again is one time, however often; the account goes on."""
    told = Told()
    for _ in range(30):
        told.fullness.refused(QUEUE)
        for _ in range(4):
            assert told.after(1.3, used=900).full == {None}
        told.fullness.took(["main"])
    full = told.fullness.now()[None]
    assert (full.since, full.refused) == (5100.0, 30)
    assert full.seconds == pytest.approx(156)
    assert told.after(2, used=900).full == set()


def test_streams_try_again_at_once() -> None:
    """Where only streams were stopped, it is over as soon as none was for two seconds."""
    told = Told()
    told.fullness.stopped(QUEUE, again=False)
    told.fullness.took(["main"])
    assert told.after(1.9).full == {None}
    assert told.after(0.2).full == set()


def test_full_again_soon_is_the_same_time() -> None:
    """What is full again within a minute was never mended: since when, and whom it has cost, go on; later it is new."""
    told = Told()
    for _ in range(3):
        told.fullness.refused(QUEUE)
        assert told.after(10, used=900).full == set()
        told.after(20, used=900)
    told.fullness.refused(QUEUE)
    assert told.fullness.now() == {None: Full(QUEUE.message, 5100.0, 4, 0, 90.0)}
    told.after(10, used=900)
    told.after(60, used=900)
    told.fullness.refused(QUEUE)
    assert told.fullness.now() == {None: Full(QUEUE.message, 5260.0, 1, 0, 0.0)}


def test_a_refusal_after_one_was_taken() -> None:
    """Who is turned away after somebody was taken waits for the next to be taken."""
    told = Told()
    told.fullness.refused(QUEUE)
    told.fullness.took(["main"])
    told.fullness.refused(QUEUE)
    assert told.after(3600).full == {None}


@pytest.mark.parametrize(("used", "is_full"), [(1000, True), (951, True), (950, False), (0, False)])
def test_until_a_twentieth_is_free(used: int, is_full: bool) -> None:
    """Where nobody asks any more, room ends it."""
    told = Told()
    told.fullness.refused(QUEUE)
    told.after(1, used=1000)
    assert (told.after(7, used=used).full == {None}) is is_full


def test_a_request_that_is_larger_than_what_is_free() -> None:
    """Room that was there when somebody was refused does not end it, as long as that client comes again."""
    told = Told()
    for _ in range(20):
        told.fullness.refused(QUEUE)
        for _ in range(5):
            assert told.after(1, used=800).full == {None}
    assert told.after(6, used=800).full == set()


def test_a_queue_that_was_emptied_between_two_looks() -> None:
    """It ends also where it was never seen full."""
    told = Told()
    told.fullness.refused(QUEUE)
    assert told.after(2, used=0).full == {None}
    assert told.after(9, used=0).full == set()


def test_a_queue_that_cannot_say() -> None:
    """While the storage fails, only who is taken ends it."""
    told = Told()
    told.fullness.refused(QUEUE)
    assert told.after(3600, used=None).full == {None}
    told.fullness.took([])
    assert told.full == set()


def test_a_share_is_its_own() -> None:
    """A full share is full for its destination alone; events for others do not end it."""
    told = Told()
    for _ in range(2):
        told.fullness.refused(SHARE)
    told.now += 60
    told.fullness.took(["other"])
    assert told.full == {"main"}
    assert told.fullness.trouble(["main", "other"]) is None
    assert told.fullness.trouble(["main"]) == SHARE.message
    told.fullness.took(["other", "main"])
    assert told.full == set()


@pytest.mark.parametrize("shares", [{"main": Share(2000)}, {"main": Share(None)}, {}])
def test_a_share_that_was_raised(shares: dict[str, Share]) -> None:
    """A reload that gives a destination more room, or takes it away, ends it."""
    told = Told()
    told.fullness.refused(SHARE)
    assert told.after(10).full == {"main"}
    assert told.after(2, shares=shares).full == set()


def test_no_destination_can_accept() -> None:
    """Nothing is accepted where the queue is full, or every share: the reason names them."""
    told = Told()
    told.fullness.refused(SHARE)
    told.fullness.refused(ShareFullError("that of other, too", "other"))
    assert told.fullness.trouble(["other", "main"]) == f"{SHARE.message}; that of other, too"
    assert told.fullness.trouble([]) is None
    told.fullness.refused(QUEUE)
    assert told.fullness.trouble(["other", "main", "third"]) == QUEUE.message
