"""The deliveries under way, and what is counted from their stages."""

from __future__ import annotations

import asyncio
import time

import pytest

from forwarder.delivery.pipeline import Pipeline, Place, Stage
from forwarder.model import Batch, Slice
from tests.delivery.conftest import PATIENCE


def batch(number: int) -> Batch:
    return Batch("main", (Slice(number, 1, 0.0),), b"{}\n")


class Course:
    """A pipeline with what it gave back to the queue, and how often it rang."""

    def __init__(self, *stages: Stage) -> None:
        self.released: list[int] = []
        self.rings = 0
        self.pipeline = Pipeline(lambda batch: self.released.append(batch.position), self._ring)
        self.places = [Place(stage, batch(number)) for number, stage in enumerate(stages)]
        for place in self.places:
            self.pipeline.enter(place)

    def _ring(self) -> None:
        self.rings += 1


class TestCounted:
    @pytest.mark.parametrize(
        ("stage", "under_way", "unsettled"),
        [
            (Stage.LEASING, 0, 0),
            (Stage.CALLED_BACK, 0, 0),
            (Stage.LEASED, 0, 0),
            (Stage.WAITING, 1, 1),
            (Stage.SENDING, 1, 1),
            (Stage.SETTLING, 0, 1),
        ],
    )
    def test_by_stage(self, stage: Stage, under_way: int, unsettled: int) -> None:
        """A delivery has a slot from its beginning to its answer, and can come twice until it is settled."""
        pipeline = Course(stage).pipeline
        assert (len(pipeline), pipeline.under_way, pipeline.unsettled) == (1, under_way, unsettled)
        assert pipeline.is_recalled is (stage is Stage.SENDING)

    def test_events_until_they_are_taken(self) -> None:
        """Events count from their lease until the answer, whether they are being sent or wait behind others."""
        stages = (Stage.SETTLING, Stage.SENDING, Stage.WAITING, Stage.LEASED)
        pipeline = Course(*stages).pipeline
        pipeline.enter(Place(Stage.LEASING))
        assert pipeline.events == 3

    def test_empty(self) -> None:
        """With nothing under way there is nothing to wait for."""
        pipeline = Course().pipeline
        assert not pipeline
        assert pipeline.is_recalled
        assert pipeline.has_free_slot(1)

    def test_a_question_is_unsettled(self) -> None:
        """A question has no place in the order, and counts until it is settled; its end is told."""
        course = Course()
        with course.pipeline.asking():
            assert (len(course.pipeline), course.pipeline.unsettled) == (0, 1)
        assert (course.pipeline.unsettled, course.rings) == (0, 1)

    @pytest.mark.parametrize(
        ("stages", "is_free"),
        [
            ([Stage.SENDING], True),
            ([Stage.SENDING, Stage.WAITING], False),
            ([Stage.SENDING, Stage.SETTLING], True),
            ([Stage.SENDING, Stage.LEASED], False),
        ],
    )
    def test_a_free_slot(self, stages: list[Stage], is_free: bool) -> None:
        """A slot is free if fewer are under way than may be, and no batch that was leased before waits for one."""
        assert Course(*stages).pipeline.has_free_slot(2) is is_free


class TestTurns:
    async def test_in_the_order_of_the_list(self) -> None:
        """A delivery has its turn when all in front of it have begun, or are gone."""
        course = Course(Stage.SENDING)
        first, second, third = (Place(Stage.LEASED, batch(number)) for number in (1, 2, 3))
        course.pipeline.enter(leasing := Place(Stage.LEASING))
        course.pipeline.leased(leasing, [first, second, third])
        assert [place.turn.is_set() for place in (first, second, third)] == [True, False, False]
        waiting = asyncio.create_task(course.pipeline.last_has_turn())
        course.pipeline.move(first, Stage.WAITING)
        assert [place.turn.is_set() for place in (second, third)] == [True, False]
        await asyncio.sleep(0)
        assert not waiting.done()
        second.batch = None
        course.pipeline.leave(second)
        await asyncio.wait_for(waiting, PATIENCE)

    async def test_nothing_is_waited_for_where_nothing_is(self) -> None:
        """An empty list lets the next batch be leased at once."""
        await asyncio.wait_for(Course().pipeline.last_has_turn(), PATIENCE)


class TestGivingBack:
    def test_those_behind_go_back_too(self) -> None:
        """A batch that goes back takes those with it that were leased later and have not begun."""
        stages = [Stage.LEASED, Stage.WAITING, Stage.SENDING, Stage.LEASED, Stage.LEASED]
        course = Course(*stages)
        course.pipeline.leave(course.places[1])
        assert course.released == [1, 3, 4]
        assert [place.stage for place in course.places] == [
            *(Stage.LEASED, Stage.GONE, Stage.SENDING),
            *(Stage.GONE, Stage.GONE),
        ]
        assert all(course.places[number].turn.is_set() for number in (0, 1, 3, 4))
        assert len(course.pipeline) == 2

    def test_what_is_settled_takes_nothing_back(self) -> None:
        """A delivery that was settled just leaves."""
        course = Course(Stage.SETTLING, Stage.LEASED)
        course.places[0].batch = None
        course.pipeline.leave(course.places[0])
        assert course.released == []
        assert len(course.pipeline) == 1

    def test_only_once(self) -> None:
        """What went back with another one is not given back again when its own task ends."""
        course = Course(Stage.WAITING, Stage.LEASED)
        for place in course.places:
            course.pipeline.leave(place)
        assert course.released == [0, 1]

    def test_what_is_being_leased_goes_back_when_it_is_there(self) -> None:
        """Batches that the queue hands out after an older one went back follow it at once, and are waited for."""
        course = Course(Stage.SENDING)
        course.pipeline.enter(leasing := Place(Stage.LEASING))
        course.pipeline.leave(course.places[0])
        assert (course.released, len(course.pipeline), course.pipeline.is_recalled) == ([0], 1, False)
        deliveries = [Place(Stage.LEASED, batch(number)) for number in (1, 2)]
        course.pipeline.leased(leasing, deliveries)
        assert course.released == [0, 1, 2]
        assert not course.pipeline

    def test_a_lease_of_nothing(self) -> None:
        """Where the queue hands out nothing, the place that was kept is gone."""
        course = Course(Stage.SENDING)
        course.pipeline.enter(leasing := Place(Stage.LEASING))
        course.pipeline.leased(leasing, [])
        assert len(course.pipeline) == 1

    def test_all(self) -> None:
        """At the end everything that is not settled goes back."""
        course = Course(Stage.SENDING, Stage.WAITING, Stage.LEASED)
        course.pipeline.clear()
        assert sorted(course.released) == [0, 1, 2]
        assert not course.pipeline


class TestWaiting:
    async def test_a_ring_ends_it(self) -> None:
        """Whoever waits goes on at the next ring, and so does who waits at the queue."""
        course = Course()
        waiting = [asyncio.create_task(course.pipeline.wait(1000.0)) for _ in range(2)]
        await asyncio.sleep(0)
        course.pipeline.ring()
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        assert course.rings == 1

    @pytest.mark.parametrize("seconds", [None, 1000.0])
    async def test_no_longer_than_it_is_safe(self, seconds: float | None) -> None:
        """A wake-up can get lost: nobody waits for longer than `look_again`."""
        pipeline = Pipeline(lambda _batch: None, lambda: None, look_again=0.01)
        await asyncio.wait_for(pipeline.wait(seconds), PATIENCE)

    async def test_no_longer_than_asked(self) -> None:
        """A wait ends after the time that was asked for."""
        began = time.monotonic()
        await Course().pipeline.wait(0.01)
        assert time.monotonic() - began < 4.0
