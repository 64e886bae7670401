"""Input is read piece by piece, never ahead of what is sent."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from forwarder.cli.reader import Reader
from forwarder.cli.splitter import Splitter
from tests.cli.console import Ended, run
from tests.cli.intake import Receiving, event, ndjson
from tests.fixtures import PATIENCE


@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]"])
def test_nothing(data: bytes) -> None:
    """Input without events is no failure, and needs nobody who listens."""
    assert run("send", "--to", "unix:/nowhere", stdin=data) == Ended(0, "0 events\n", "")


def test_from_a_pipe_that_stays_open(intake: Receiving, to: str) -> None:
    """What comes through a pipe is sent as it comes, not only at the end of the input."""
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for number in range(3):
                pipe.write(ndjson(event(number)))
                deadline = time.monotonic() + 5
                while len(intake.queue.queued()) <= number:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert run("send", "--to", to, stdin=reading).out == "3 events accepted\n"
    feeder.join(PATIENCE)
    assert len(intake.queue.appends) == 3


def reader_of(descriptor: int) -> Reader:
    return Reader(descriptor, Splitter(lambda place, detail: pytest.fail(f"{place}: {detail}")))


def test_the_size_of_a_file_is_known(tmp_path: Path) -> None:
    """A regular file tells how much will come, and a pipe does not; what was read is counted."""
    (tmp_path / "events").write_bytes(b"{}\n" * 10)
    with (tmp_path / "events").open("rb") as file:
        reader = reader_of(file.fileno())
        assert (reader.size, reader.bytes_read) == (30, 0)
        while reader.next_chunk() is not None:
            pass
        assert reader.bytes_read == 30
    reading, writing = os.pipe()
    assert reader_of(reading).size is None
    os.close(reading)
    os.close(writing)


def test_a_chunk_that_is_put_back_comes_next(tmp_path: Path) -> None:
    """What could not be sent is the next again, before what follows it."""
    (tmp_path / "events").write_bytes(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    with (tmp_path / "events").open("rb") as file:
        reader = reader_of(file.fileno())
        chunk = reader.next_chunk()
        assert chunk is not None
        first, rest = chunk.split(1)
        assert rest is not None
        reader.put_back(rest)
        reader.put_back(first)
        assert (reader.next_chunk(), reader.next_chunk()) == (first, rest)
        assert reader.next_chunk() is None


async def test_waiting_blocks_nothing_else() -> None:
    """While a pipe has nothing to read the event loop goes on; what comes then is there at once."""
    reading, writing = os.pipe()
    reader = reader_of(reading)
    waiting = asyncio.create_task(reader.wait())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    os.write(writing, b"{}\n{}\n")
    await asyncio.wait_for(waiting, PATIENCE)
    chunk = reader.next_chunk()
    assert chunk is not None
    assert chunk.data == b"{}\n{}\n"
    os.close(writing)
    await asyncio.wait_for(reader.wait(), PATIENCE)
    assert reader.next_chunk() is None
    os.close(reading)
