"""What is full and what will be is told by conditions, and in the log once a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from forwarder.daemon.room import Room
from forwarder.errors import QueueFullError, ShareFullError
from forwarder.model import INVALID, Counters, QueueStats
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import ConditionChanged, Notice
from forwarder.queue.base import Share
from forwarder.queue.fullness import Fullness
from tests.observe.recording import Recording

MIB = 1 << 20
QUEUE = QueueFullError("the queue is full: 1,000 bytes (queue.max_bytes)")


class Watched:
    """The room of a queue of 100 MiB, of which `main` may use 50, in rounds of two seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stats: QueueStats | None = QueueStats("memory", 0, 100 * MIB, destinations={"main": Counters()})
        self.shares: Mapping[str, Share] = {"main": Share(50 * MIB), INVALID: Share(MIB)}
        self.recording = Recording()
        self.conditions = Conditions(self.recording, lambda: self.now)
        self.fullness = Fullness(lambda: self.now, lambda: self.now)
        self.room = Room(self.fullness, self.conditions, self.recording, lambda: dict(self.shares), lambda: self.now)

    def rounds(self, seconds: float, *, queue: float = 0.0, main: float = 0.0, disk: float = 0.0) -> None:
        """Go round for so many seconds, in which these grow by so many MiB each second."""
        for _ in range(round(seconds / 2)):
            self.now += 2
            if (stats := self.stats) is not None:
                account = stats.destinations["main"]
                account = replace(account, queued_bytes=account.queued_bytes + round(main * 2 * MIB))
                free = None if stats.disk_free_bytes is None else stats.disk_free_bytes - round(disk * 2 * MIB)
                used = stats.bytes + round(queue * 2 * MIB)
                self.stats = replace(stats, bytes=used, destinations={"main": account}, disk_free_bytes=free)
            self.room.look(self.stats)

    def active(self) -> dict[tuple[str, str | None], str]:
        return {(found.key, found.destination): found.detail for found in self.conditions.active()}


def test_the_begin_and_the_end() -> None:
    """A full queue is a condition from the round after the first refusal until it is over; both ends are told."""
    watched = Watched()
    for _ in range(2):
        watched.fullness.refused(QUEUE)
    watched.rounds(2)
    assert watched.active() == {("queue.full", None): f"{QUEUE.message}; 2 requests refused"}
    assert [*watched.room.full] == [None]
    watched.fullness.refused(QUEUE)
    watched.fullness.took(["main"])
    watched.rounds(8)
    assert watched.active() == {}
    told = [fact for fact in watched.recording.facts if isinstance(fact, ConditionChanged)]
    assert [(fact.key, fact.active) for fact in told] == [("queue.full", True), ("queue.full", False)]


def test_a_line_a_minute() -> None:
    """While it lasts, the log says once a minute whom it has cost since it began."""
    watched = Watched()
    for _ in range(90):
        watched.fullness.refused(QUEUE)
        for _ in range(2):
            watched.fullness.refused(ShareFullError("main is full", "main"))
        watched.rounds(2)
    told = [fact for fact in watched.recording.facts if isinstance(fact, Notice)]
    assert [fact.key for fact in told] == ["queue.still_full"] * 4
    assert told[0].details == {"detail": QUEUE.message, "seconds": 62.0, "refused": 31, "stopped": 0}
    assert told[3].details == {
        "destination": "main",
        "detail": "main is full",
        "seconds": 122.0,
        "refused": 122,
        "stopped": 0,
    }


@pytest.mark.parametrize("period", [6, 12, 30, 58])
def test_full_by_turns(period: int) -> None:
    """However it comes and goes, no minute has two lines that it is full, nor an end without such a line before."""
    watched, lines, refused = Watched(), list[tuple[float, bool]](), 600 // period
    for _ in range(refused):
        watched.fullness.refused(QUEUE)
        for _ in range(period // 2):
            watched.recording.facts.clear()
            watched.rounds(2)
            # The conditions, and with them the status and the metrics, say what is so at any moment.
            assert bool(watched.active()) is bool(watched.room.full)
            for fact in watched.recording.facts:
                lines.append((watched.now, not isinstance(fact, ConditionChanged) or fact.active))
        watched.fullness.took(["main"])
    begins = [at for at, is_full in lines if is_full]
    assert len(begins) >= 5
    assert all(later - earlier >= 60 for earlier, later in pairwise(begins))
    told = [is_full for _, is_full in lines]
    assert told[0]
    assert (False, False) not in pairwise(told)
    watched.fullness.refused(QUEUE)
    assert watched.fullness.now()[None].refused == refused + 1


def test_a_share_and_the_account_of_what_is_invalid() -> None:
    """A full share is told of its destination, and that of invalid events by a line of its own."""
    watched = Watched()
    watched.fullness.refused(ShareFullError("main is full", "main"))
    watched.fullness.refused(ShareFullError("no room for what is invalid", INVALID))
    watched.rounds(2)
    assert watched.active().keys() == {("queue.full", "main"), ("invalid.full", INVALID)}


def test_a_queue_that_fills() -> None:
    """At a rate at which the queue, a share or the disk is full within the hour, that is told, with when."""
    watched = Watched()
    assert watched.stats is not None
    watched.stats = replace(watched.stats, disk_free_bytes=200 * MIB)
    watched.rounds(120, queue=0.1, main=0.1, disk=0.2)
    assert watched.active() == {
        ("queue.fills_soon", None): "12.0 MiB of 100.0 MiB are in use, full in about 15 min",
        ("queue.fills_soon", "main"): "12.0 MiB of 50.0 MiB are in use, full in about 6 min",
        ("disk.fills_soon", None): "176.0 MiB are free on the disk of the queue, full in about 15 min",
    }
    assert watched.room.full_in_seconds == pytest.approx(880, rel=0.05)
    watched.rounds(400)
    assert watched.active() == {}
    assert watched.room.full_in_seconds is None


def test_what_is_full_is_not_full_soon() -> None:
    """Once somebody is turned away, one line tells so, not two."""
    watched = Watched()
    watched.rounds(120, queue=0.1)
    watched.fullness.refused(QUEUE)
    watched.rounds(2, queue=0.1)
    assert watched.active().keys() == {("queue.full", None)}


def test_a_disk_that_is_full() -> None:
    """Once the storage fails, that is told, and not that it will."""
    watched = Watched()
    assert watched.stats is not None
    watched.stats = replace(watched.stats, disk_free_bytes=200 * MIB)
    watched.rounds(58, disk=0.2)
    # Others may only have written what they delete again.
    assert watched.active() == {}
    watched.rounds(62, disk=0.2)
    assert watched.active().keys() == {("disk.fills_soon", None)}
    watched.stats = replace(watched.stats, failing="the disk of the queue is full")
    watched.rounds(2)
    assert watched.active() == {}


def test_a_share_that_is_gone() -> None:
    """A destination that a reload takes away, or whose share it lifts, is not foreseen any more."""
    watched = Watched()
    watched.rounds(120, main=0.1)
    assert watched.active().keys() == {("queue.fills_soon", "main")}
    watched.shares = {"main": Share()}
    watched.rounds(2, main=0.1)
    assert watched.active() == {}


def test_a_queue_that_cannot_say() -> None:
    """While the storage fails, what is full stays told, and nothing is foreseen."""
    watched = Watched()
    watched.fullness.refused(QUEUE)
    watched.rounds(2)
    watched.stats = None
    watched.rounds(60)
    assert watched.active().keys() == {("queue.full", None)}
