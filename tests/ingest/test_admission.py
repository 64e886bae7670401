"""The room for requests: large ones wait, what grows meets a limit, and small ones are let in beside them."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.errors import BusyError
from forwarder.ingest.admission import LARGE_BYTES, Admission

MIB = 1 << 20


async def test_small_ones_do_not_wait() -> None:
    """A request that is not large is never counted before it has come."""
    assert await Admission().reserve(LARGE_BYTES) == 0


async def test_large_ones_wait_for_each_other() -> None:
    """What does not fit beside others waits until they are gone."""
    room = Admission()
    assert await room.reserve(60 * MIB) == 60 * MIB
    waiting = asyncio.create_task(room.reserve(5 * MIB))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    room.free(60 * MIB)
    assert await waiting == 5 * MIB


async def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long is told to come again."""
    monkeypatch.setattr("forwarder.ingest.admission._WAIT_SECONDS", 0.01)
    room = Admission()
    await room.reserve(64 * MIB)
    with pytest.raises(BusyError):
        await room.reserve(MIB)


async def test_alone() -> None:
    """A request that is alone may be as large as a request may be."""
    room = Admission()
    assert await room.reserve(500 * MIB) == 500 * MIB
    room.free(500 * MIB)
    assert room.count(0, 500 * MIB) == 500 * MIB


async def test_what_grows_meets_a_limit() -> None:
    """What did not say how large it is may take twice the room, with the others; small ones a little more."""
    room = Admission()
    held = room.count(0, 128 * MIB)
    assert room.count(held, MIB) == held
    with pytest.raises(BusyError):
        room.count(0, LARGE_BYTES + 1)
    for _ in range(32):
        room.count(0, LARGE_BYTES)
    with pytest.raises(BusyError), room.taken(LARGE_BYTES):
        pass


async def test_taken_for_a_while() -> None:
    """What is being stored is counted until it is, or is not."""
    room = Admission()
    room.count(0, 144 * MIB - 100)
    for _ in range(3):
        with pytest.raises(RuntimeError), room.taken(100):
            with pytest.raises(BusyError):
                room.count(0, 1)
            raise RuntimeError
