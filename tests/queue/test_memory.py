"""What the queue in memory does beside what every backend promises: leases that end."""

from __future__ import annotations

from forwarder.model import Burial, DeadFilter, Limits
from forwarder.queue.base import Share
from forwarder.queue.memory import MemoryQueue
from tests.delivery.simulation import Clock, simulate
from tests.queue.building import account, drain, numbers, segment, take

LEASE = 60.0


async def opened() -> MemoryQueue:
    queue = MemoryQueue(1 << 20, lease_seconds=LEASE)
    await queue.configure({"main": Share()})
    await queue.append([segment(0, 4)])
    return queue


def test_a_lease_ends() -> None:
    """What nobody renews waits again, in its place."""

    async def play(clock: Clock) -> None:
        queue = await opened()
        await take(queue, Limits(2, 1 << 20))
        clock.now += LEASE - 1
        assert queue.pending("main").events == 2
        clock.now += 2
        assert queue.pending("main").events == 4
        assert numbers((await take(queue)).data) == [0, 1, 2, 3]

    simulate(play)


def test_a_lease_that_is_renewed() -> None:
    """What is renewed stays leased for as long again; what was released is not leased again by that."""

    async def play(clock: Clock) -> None:
        queue = await opened()
        await take(queue, Limits(2, 1 << 20))
        queue.release(await take(queue))
        for _ in range(10):
            clock.now += LEASE - 1
            await queue.renew("main")
        assert queue.pending("main").events == 2

    simulate(play)


def test_settled_by_two() -> None:
    """What two takers settle, as the lease of the first one had ended, is counted once, by the first answer."""

    async def play(clock: Clock) -> None:
        queue = await opened()
        slow = await take(queue)
        clock.now += LEASE + 1
        quick = await take(queue, Limits(3, 1 << 20))
        await queue.settle(quick)
        await queue.settle(slow, Burial("rejected", 400, "no"))
        queue.release(quick)
        assert await queue.take_again("main", [0, 3], 1 << 20) == []
        found = await account(queue)
        assert (found.delivered, found.dead, found.queued) == (3, 1, 0)
        assert [numbers(letter.event) async for letter in queue.dead_letters(DeadFilter())] == [[3]]
        assert await drain(queue) == []

    simulate(play)
