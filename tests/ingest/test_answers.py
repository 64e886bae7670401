"""Acks and refusals, to clients that read and to others."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.ingest.answers import Answers
from tests.fixtures import PATIENCE


class Noting(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.high: int | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return False


@pytest.fixture
async def transport() -> Noting:
    return Noting()


async def test_acks_are_folded(transport: Noting) -> None:
    """Of the acks that a client does not take only the last one is kept."""
    answers = Answers(transport)
    answers.settled(1)
    answers.pause()
    answers.settled(2)
    answers.settled(3)
    answers.resume()
    answers.resume()
    assert transport.written == b'{"ack": 1}\n{"ack": 3}\n'


async def test_refusals_wait(transport: Noting) -> None:
    """A refusal waits until the client reads."""
    answers = Answers(transport)
    answers.pause()
    refusing = asyncio.create_task(answers.refuse(1, 422, "bad"))
    await asyncio.sleep(0)
    assert transport.written == b""
    answers.resume()
    await refusing
    assert transport.written == b'{"refused":1,"status":422,"detail":"bad"}\n'


async def test_silence(transport: Noting) -> None:
    """Once a refusal could not be said, nothing is: an ack would cover it."""
    answers = Answers(transport)
    answers.pause()
    refusing = asyncio.create_task(answers.refuse(1, 422, "bad"))
    await asyncio.sleep(0)
    answers.silence_unread()
    await refusing
    answers.settled(1)
    answers.resume()
    assert transport.written == b""


async def test_silence_of_who_stops_reading_later(transport: Noting) -> None:
    """After that, no refusal waits for a client whose buffer is full only by then."""
    answers = Answers(transport)
    answers.silence_unread()
    await answers.refuse(1, 422, "bad")
    answers.pause()
    await asyncio.wait_for(answers.refuse(2, 422, "bad"), PATIENCE)
    answers.settled(3)
    answers.resume()
    assert transport.written == b'{"refused":1,"status":422,"detail":"bad"}\n'


async def test_who_reads_is_not_silenced(transport: Noting) -> None:
    """A client that reads its answers gets them to the last."""
    answers = Answers(transport)
    answers.silence_unread()
    answers.settled(1)
    assert transport.written == b'{"ack": 1}\n'


async def test_flush(transport: Noting) -> None:
    """A flush waits for what the transport still holds, the ack that waits behind it too, but not for ever."""
    answers = Answers(transport)
    answers.pause()
    answers.settled(1)
    flushing = asyncio.create_task(answers.flush(5))
    await asyncio.sleep(0)
    assert (flushing.done(), transport.high) == (False, 0)
    answers.resume()
    await flushing
    assert transport.written == b'{"ack": 1}\n'
    answers.pause()
    await answers.flush(0.01)
