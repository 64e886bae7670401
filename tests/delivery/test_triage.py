"""What is sent next where a destination does not take everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forwarder.delivery.backoff import Backoff
from forwarder.delivery.suspects import Suspect, Suspects
from forwarder.delivery.triage import InTurn, Nothing, Probe, Triage
from forwarder.model import Batch, Burial, Slice

MOST = 1000


def part(position: int, events: int = 1) -> Batch:
    return Batch("main", (Slice(position, events, 0.0),), b"{}\n" * events)


class Trouble:
    """A queue of numbered events before a destination that refuses some of them."""

    def __init__(self, events: int, is_bad: Callable[[int], bool]) -> None:
        self.suspects = Suspects(Backoff(1.0, 60.0, 2.0))
        self.triage = Triage(self.suspects)
        self.waiting = list(range(events))
        self.is_bad = is_bad
        self.requests: list[list[int]] = []
        self.taken: list[int] = []
        self.triage.begin(min(MOST, events), failed=False)

    def step(self) -> Nothing | None:
        """Do what comes next; return what there is instead."""
        step = self.triage.next(len(self.waiting), MOST, 0.5)
        match step:
            case InTurn(events):
                sent = self.waiting[:events]
                # Neighbours only: what is set aside leaves gaps.
                sent = sent[: next((i for i in range(1, len(sent)) if sent[i] != sent[i - 1] + 1), len(sent))]
            case Probe(position):
                behind = [number for number in self.waiting if number >= position]
                sent = behind[:1] or self.waiting[-1:]
                self.triage.reached(position, sent[0] if sent else None)
            case _:
                return step
        self.answer(sent, is_probe=isinstance(step, Probe))
        return None

    def answer(self, sent: list[int], *, is_probe: bool) -> None:
        self.requests.append(sent)
        batch = part(sent[0], len(sent))
        if not any(self.is_bad(number) for number in sent):
            self.suspects.taken(0.0)
            self.triage.taken(batch, is_probe=is_probe)
            self.taken += sent
        elif self.triage.refused(batch, is_probe=is_probe):
            self.suspects.doubt(Suspect(batch.slices[0], Burial("rejected", 400)), 0.0, failed=False)
        else:
            return
        self.waiting = [number for number in self.waiting if number not in sent]

    def hold(self) -> None:
        self.triage.hold()
        self.waiting = sorted(self.waiting + [one.place.position for one in self.suspects.forgive()])

    def go_on(self, holds: int = 0) -> None:
        """Go on until all is taken or set aside, or so many waits are over."""
        while self.waiting:
            nothing = self.step()
            if nothing is Nothing.DONE:
                self.full_batch()
            elif nothing is Nothing.HOLD:
                if holds == 0:
                    return
                holds -= 1
                self.hold()

    def full_batch(self) -> None:
        """Send what is sent without a triage."""
        sent = self.waiting[:MOST]
        if any(self.is_bad(number) for number in sent):
            self.triage.begin(len(sent), failed=False)
        else:
            self.taken += sent
            self.waiting = self.waiting[MOST:]


class TestRefused:
    @pytest.mark.parametrize("place", [0, 1, 499, 999])
    def test_one_bad_event_stands_alone_after_a_few_requests(self, place: int) -> None:
        """Halves find one event in a thousand, and all others are taken in their order."""
        trouble = Trouble(2000, lambda number: number == place)
        trouble.go_on()
        assert trouble.taken == [number for number in range(2000) if number != place]
        assert [place] in trouble.requests
        assert len(trouble.requests) <= 40

    def test_full_batches_end_it(self) -> None:
        """Parts are doubled with each one that is taken; once a full batch would be next, it is over."""
        trouble = Trouble(5000, lambda number: number == 3)
        while trouble.step() is None:
            pass
        assert not trouble.triage.is_needed
        assert 3000 < len(trouble.waiting) < 4500

    @pytest.mark.parametrize("run", [30, 300, 3000])
    def test_a_run_of_bad_ones_costs_a_request_each(self, run: int) -> None:
        """Single events ever farther back find the good ones behind it; then the run is gone through in order."""
        trouble = Trouble(run + 500, lambda number: number < run)
        trouble.go_on(holds=5)
        assert sorted(trouble.taken) == list(range(run, run + 500))
        assert len(trouble.requests) <= 1.1 * run + 200

    def test_a_bound_for_each_wait(self) -> None:
        """Where nothing is taken, twenty requests come before each wait, and none more, wherever they go."""
        trouble = Trouble(10_000, lambda _number: True)
        before = 0
        for _ in range(10):
            while trouble.step() is None:
                pass
            assert len(trouble.requests) - before <= 20
            before = len(trouble.requests)
            trouble.hold()
            assert trouble.triage.is_held
            assert trouble.triage.is_general

    def test_the_oldest_is_tried_first_after_a_wait(self) -> None:
        """Once it is mended, everything comes in order."""
        is_bad = [True]
        trouble = Trouble(3000, lambda _number: is_bad[0])
        for _ in range(4):
            while trouble.step() is None:
                pass
            trouble.hold()
        is_bad[0] = False
        trouble.go_on()
        assert trouble.taken == list(range(len(trouble.taken)))
        assert not trouble.triage.is_held

    def test_ever_farther_back(self) -> None:
        """While it is held the probes are spread over a long queue, up to the newest event."""
        trouble = Trouble(100_000, lambda _number: True)
        while trouble.step() is None:
            pass
        trouble.hold()
        before = len(trouble.requests)
        while trouble.step() is None:
            pass
        places = [sent[0] for sent in trouble.requests[before:]]
        assert places[0] == 0
        assert max(places) == 99_999
        assert any(1000 < place < 99_000 for place in places)

    def test_what_comes_meanwhile_is_tried_a_few_times(self) -> None:
        """New events are tried during a wait, four times at most."""
        trouble = Trouble(100, lambda _number: True)
        while trouble.step() is None:
            pass
        trouble.hold()
        assert [trouble.triage.newest() is not None for _ in range(6)] == [True] * 4 + [False] * 2

    def test_nothing_is_doubted_where_there_is_no_room(self) -> None:
        """With too many suspects the next one goes back to the queue, and only probes go out."""
        trouble = Trouble(10, lambda _number: True)
        for position in range(10_000, 10_000 + 2 * 1024, 2):
            trouble.suspects.doubt(Suspect(Slice(position, 1, 0.0), Burial("rejected", 400)), 0.0, failed=False)
        trouble.suspects.taken(0.0)
        assert trouble.suspects.is_full
        assert not trouble.triage.refused(part(0), is_probe=False)
        assert isinstance(trouble.triage.next(10, MOST, 0.5), Probe)


class TestTakenInParts:
    def test_all_of_it(self) -> None:
        """What was refused as a whole, and then taken in parts, is told, with events and bytes."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        triage.refused(part(0, 8), is_probe=False)
        triage.refused(part(0, 4), is_probe=False)
        assert triage.taken(part(0, 2), is_probe=False) is None
        assert triage.taken(part(2, 2), is_probe=False) == (4, 13)
        assert triage.taken(part(4, 4), is_probe=False) == (8, 25)

    def test_where_batches_overlap(self) -> None:
        """Another refusal behind it changes nothing about what was taken."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        triage.refused(part(0, 2), is_probe=False)
        triage.taken(part(0, 1), is_probe=False)
        triage.refused(part(1, 2), is_probe=False)
        assert triage.taken(part(1, 1), is_probe=False) == (2, 7)

    @pytest.mark.parametrize("how", ["alone", "by_size", "failed", "held"])
    def test_not_where_there_is_another_reason(self, how: str) -> None:
        """One of the events may have been bad, or the answer spoke of the size."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        triage.refused(part(0, 4), is_probe=False, by_size=how == "by_size")
        match how:
            case "alone":
                triage.refused(part(0), is_probe=False)
            case "failed":
                triage.failed(part(0), 10)
            case "held":
                triage.hold()
        assert triage.taken(part(1, 3), is_probe=False) is None


class TestFailed:
    def test_in_eighths(self) -> None:
        """What failed is cut into eight: halves would take too many waits."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        triage.begin(1000, failed=True)
        assert triage.next(1000, MOST, 0.5) == InTurn(125)
        assert not triage.failed(part(0, 125), 875)
        assert triage.next(1000, MOST, 0.5) == InTurn(15)

    def test_the_next_one_is_tried_at_once(self) -> None:
        """A single event that failed is compared with another one, without a wait between."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        triage.begin(8, failed=True)
        assert triage.failed(part(5), 100)
        assert isinstance(triage.next(100, MOST, 0.5), Probe)

    def test_two_that_fail_are_nobodys_fault(self) -> None:
        """After the second one both go back, and it waits; the next pair reaches farther."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        reaches = []
        for _ in range(5):
            triage.begin(1, failed=True)
            assert triage.failed(part(0), 100)
            step = triage.next(100, MOST, 0.5)
            assert isinstance(step, Probe)
            reaches.append(step.position)
            assert not triage.failed(part(step.position), 99)
        assert reaches == [0, 1, 2, 4, 8]

    def test_with_nothing_else_it_is_general(self) -> None:
        """Where nothing is left to compare with, nothing is known to be taken."""
        triage = Triage(Suspects(Backoff(1.0, 60.0, 2.0)))
        assert not triage.failed(part(0), 0)
        assert triage.is_general


def test_without_trouble_it_is_over() -> None:
    """With nothing left that waits, and nothing doubted, the triage ends; while something is doubted it holds."""
    suspects = Suspects(Backoff(1.0, 60.0, 2.0))
    triage = Triage(suspects)
    triage.begin(1, failed=False)
    suspects.doubt(Suspect(Slice(0, 1, 0.0), Burial("rejected", 400)), 0.0, failed=False)
    assert triage.next(0, MOST, 0.5) is Nothing.HOLD
    suspects.forgive()
    assert triage.next(0, MOST, 0.5) is Nothing.DONE
    assert not triage.is_needed
