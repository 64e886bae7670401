"""What is known of single events that were refused, or that failed, alone."""

from __future__ import annotations

import pytest

from forwarder.delivery.backoff import Backoff
from forwarder.delivery.suspects import Suspect, Suspects
from forwarder.model import Burial, Slice

LONGEST = 60.0


def new() -> Suspects:
    return Suspects(Backoff(1.0, LONGEST, 2.0))


def suspect(position: int = 0, reason: str = "rejected", accepted_at: float = 0.0) -> Suspect:
    return Suspect(Slice(position, 1, accepted_at), Burial(reason, 400, "no"))


def set_aside(suspects: Suspects, *positions: int, failed: bool = False) -> list[Suspect]:
    """Doubt events, and let something else be taken."""
    found = [suspect(position) for position in positions]
    for one in found:
        suspects.doubt(one, 0.0, failed=failed)
    suspects.taken(0.0)
    return found


def refuse(suspects: Suspects, now: float = 0.0) -> int:
    """Ask about the next one, for as long as is wanted, and let it be refused; return how often."""
    one = suspects.next(now)
    assert one is not None
    count = 1
    while suspects.refused(one, now, insisting=count > 1):
        count += 1
    return count


class TestDoubt:
    def test_is_set_aside_once_something_else_is_taken(self) -> None:
        """Only what the destination takes meanwhile makes a refusal one that is about the event."""
        suspects = new()
        suspects.doubt(suspect(), 0.0, failed=False)
        assert suspects.next(0.0) is None
        assert suspects.taken(0.0) == 1
        assert suspects.next(0.0) is not None

    def test_is_forgiven_where_nothing_is_taken(self) -> None:
        """What is given back to the queue is known no more."""
        suspects = new()
        one = suspect()
        suspects.doubt(one, 0.0, failed=False)
        assert suspects.forgive() == [one]
        assert len(suspects) == 0
        assert suspects.taken(0.0) == 0

    def test_the_oldest_is_recalled(self) -> None:
        """The one with the first place in the queue is tried again first."""
        suspects = new()
        for position in (5, 2, 9):
            suspects.doubt(suspect(position), 0.0, failed=False)
        oldest, others = suspects.recall()
        assert oldest.place.position == 2
        assert [one.place.position for one in others] == [5, 9]


class TestProof:
    def test_three_refusals_each_followed_by_something_taken(self) -> None:
        """One that is refused three times is proven only after something was taken since the third time."""
        suspects = new()
        [one] = set_aside(suspects, 0)
        assert not suspects.is_proven(one, 0.0)
        assert refuse(suspects) == 1
        assert one.refusals == 2
        suspects.taken(0.0)
        assert not suspects.is_proven(one, 0.0)
        refuse(suspects)
        assert one.refusals == 3
        assert not suspects.is_proven(one, 0.0)
        suspects.taken(0.0)
        assert suspects.is_proven(one, 0.0)

    def test_refusals_with_nothing_taken_between_do_not_count(self) -> None:
        """However often it is refused, without anything taken meanwhile nothing is added."""
        suspects = new()
        [one] = set_aside(suspects, 0)
        refuse(suspects)
        for round_ in range(1, 50):
            refuse(suspects, now=round_ * 2 * LONGEST)
        assert one.refusals == 2
        suspects.taken(0.0)
        assert not suspects.is_proven(one, 0.0)

    def test_the_last_question_is_put_until_it_is_sure(self) -> None:
        """A dozen refusals in a row come before the first burial, and two before each of those that follow."""
        suspects = new()
        set_aside(suspects, 0, 1)
        assert [refuse(suspects), refuse(suspects)] == [1, 1]
        suspects.taken(0.0)
        assert refuse(suspects) == 10
        assert refuse(suspects) == 2

    def test_twenty_failures_over_the_longest_wait(self) -> None:
        """One that fails is proven by twenty times, over the longest wait at least, with something taken between."""
        suspects = new()
        [one] = set_aside(suspects, 0, failed=True)
        now = 0.0
        for failures in range(2, 21):
            now = (failures - 1) * LONGEST / 19
            one.is_out = True
            suspects.failed(one, now, 0.0)
            assert one.failures == failures
            assert not suspects.is_proven(one, now)
            suspects.taken(now)
            assert suspects.is_proven(one, now) == (failures == 20)

    def test_twenty_failures_too_soon(self) -> None:
        """Twenty failures in a moment say nothing: the destination may have been in trouble for that moment."""
        suspects = new()
        [one] = set_aside(suspects, 0, failed=True)
        for _ in range(30):
            suspects.failed(one, 1.0, 0.0)
            suspects.taken(1.0)
        assert not suspects.is_proven(one, LONGEST - 0.1)
        assert suspects.is_proven(one, LONGEST)

    def test_a_failure_forgets_refusals(self) -> None:
        """Refusals and failures are not added up."""
        suspects = new()
        [one] = set_aside(suspects, 0)
        refuse(suspects)
        suspects.taken(0.0)
        suspects.failed(one, 0.0, 0.0)
        assert (one.refusals, one.failures) == (0, 1)

    def test_those_answered_the_same_are_buried_together(self) -> None:
        """With one that is proven go those that are proven, too, by the same answer."""
        suspects = new()
        found = set_aside(suspects, 0, 1, 2, 3)
        for _ in range(2):
            for _ in found:
                refuse(suspects)
            suspects.taken(0.0)
        found[2].burial = Burial("rejected", 400, "another one")
        first = suspects.next(0.0)
        assert first is found[0]
        assert suspects.also_proven(first, 0.0) == [found[1]]
        assert found[1].is_out


class TestDistrust:
    def test_refusals_are_not_believed_for_a_while(self) -> None:
        """Once something was taken that had been refused, ten minutes pass until a refusal proves something."""
        suspects = new()
        [one] = set_aside(suspects, 0)
        one.refusals = 3
        suspects.taken(0.0)
        assert suspects.distrusted_for(0.0) == 0.0
        assert suspects.contradicted(0.0)
        assert not suspects.is_proven(one, 599.0)
        assert suspects.distrusted_for(599.0) == 1.0
        assert not suspects.contradicted(1.0)
        assert suspects.believes(601.0)
        assert suspects.is_proven(one, 601.0)


class TestOld:
    def test_the_young_are_kept(self) -> None:
        """What was accepted before a time is given back, doubted or set aside; all else is asked about as before."""
        suspects = new()
        old, young, failing = (suspect(position, accepted_at=position) for position in (1, 5, 9))
        for one in (old, young, failing):
            suspects.doubt(one, 0.0, failed=one is failing)
        suspects.taken(0.0)
        also_old, doubted = (suspect(position, accepted_at=accepted) for position, accepted in ((3, 3.0), (7, 5.0)))
        for one in (also_old, doubted):
            suspects.doubt(one, 0.0, failed=False)
        assert suspects.older(5.0) == [old, also_old]
        assert suspects.older(5.0) == []
        assert suspects.taken(0.0) == 1
        assert suspects.seconds_until_due(0.0) == 0.0
        asked = [suspects.next(LONGEST) for _ in range(4)]
        assert asked == [young, doubted, failing, None]


class TestTurns:
    def test_few_events_wait_for_the_questions(self) -> None:
        """After something was taken, what is behind waits until all were asked about, but not for ever."""
        suspects = new()
        set_aside(suspects, 0, 1)
        assert suspects.has_turn(10, 0.0)
        assert not suspects.has_turn(10, 11.0)
        refuse(suspects)
        assert suspects.has_turn(10, 0.0)
        refuse(suspects)
        assert not suspects.has_turn(10, 0.0)

    def test_many_events_wait_for_nothing(self) -> None:
        """A queue that grows is not held up by what is set aside."""
        suspects = new()
        set_aside(suspects, 0, 1)
        assert not suspects.has_turn(1000, 0.0)

    def test_with_nothing_taken_questions_are_ever_rarer(self) -> None:
        """Where nothing comes that could be taken, it is asked soon, then every longest wait."""
        suspects = new()
        set_aside(suspects, 0)
        refuse(suspects)
        times: list[float] = []
        now = 0.0
        while len(times) < 6:
            seconds = suspects.seconds_until_due(now)
            assert seconds is not None
            times.append(seconds)
            now += seconds
            refuse(suspects, now)
        assert 1.0 <= times[0] <= times[1] <= LONGEST
        assert times[-1] == LONGEST

    def test_one_that_failed_waits_for_its_own_back_off(self) -> None:
        """What fails again and again is asked about ever less."""
        suspects = new()
        [one] = set_aside(suspects, 0, failed=True)
        assert suspects.next(0.0) is None
        now = 0.0
        for failures in range(1, 10):
            wait = suspects.seconds_until_due(now)
            assert wait is not None
            assert wait == pytest.approx(min(LONGEST, 2.0 ** (failures - 1)))
            now += wait
            assert suspects.next(now) is one
            suspects.taken(now)
            suspects.failed(one, now, 1.0)


class TestBounds:
    def test_is_full(self) -> None:
        """There is a bound for events, and for places in the queue that are apart."""
        together, apart = new(), new()
        for position in range(1023):
            set_aside(together, position)
            set_aside(apart, position * 2)
        assert not together.is_full
        assert not apart.is_full
        set_aside(apart, 1_000_000)
        assert apart.is_full
        set_aside(together, *range(1023, 32_768))
        assert together.is_full

    def test_one_that_is_dropped_makes_room(self) -> None:
        """What is settled counts no more, wherever in a run it stood."""
        suspects = new()
        found = set_aside(suspects, *range(0, 4096, 2), *range(1, 4096, 2))
        assert not suspects.is_full
        for one in found[1::2]:
            suspects.drop(one)
        assert len(suspects) == 2048
        suspects.clear()
        assert len(suspects) == 0
        set_aside(suspects, *range(0, 2046, 2))
        assert not suspects.is_full

    def test_the_older_ones_are_forgotten(self) -> None:
        """What is too old goes back to the queue, doubted or set aside, but for what is asked about just now."""
        suspects = new()
        kept, old, doubted = suspect(0, accepted_at=5.0), suspect(1, accepted_at=1.0), suspect(2, accepted_at=1.0)
        out = suspect(3, accepted_at=1.0)
        for one in (out, kept, old):
            suspects.doubt(one, 0.0, failed=False)
        suspects.taken(0.0)
        assert suspects.next(0.0) is out
        suspects.doubt(doubted, 0.0, failed=False)
        assert suspects.older(2.0) == [old, doubted]
        assert len(suspects) == 2
