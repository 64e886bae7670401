"""A stream of lines that never makes its writer wait."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.lossy import MAX_BYTES, LossyStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, LossyStream]]:
    """Return the end to read from of a pipe, and the stream that writes into it."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as out:
        yield reader, LossyStream(out, "lost {}\n".format)
        os.close(reader)


def read(reader: int, until: bytes) -> bytes:
    """Read until something has come."""
    found = b""
    while until not in found:
        found += os.read(reader, 65536)
    return found


def test_nobody_reads(pipe: tuple[int, LossyStream]) -> None:
    """A pipe that is full holds up nobody: what does not fit is dropped, and told where it is missing."""
    reader, stream = pipe
    line = "x" * 99 + "\n"
    for _ in range(2 * MAX_BYTES // len(line)):
        stream.write(line)
    dropped = stream.dropped
    assert dropped > MAX_BYTES // len(line) // 2
    found = read(reader, b"lost")
    stream.write("after\n")
    lines = (found + read(reader, b"after\n")).decode().splitlines()
    told = [int(line.split()[1]) for line in lines if line.startswith("lost")]
    assert sum(told) == dropped == stream.dropped
    assert lines.count("x" * 99) == 2 * MAX_BYTES // len(line) - dropped
    # Where they are missing, not at the end.
    assert lines[-1] == "after"
    assert lines[0] == "x" * 99


def test_told_without_another_line(pipe: tuple[int, LossyStream]) -> None:
    """How many lines were dropped is told as soon as somebody reads, also where no line follows."""
    reader, stream = pipe
    stream.write("x" * (MAX_BYTES - 1) + "\n")
    stream.write("one\n")
    stream.write("two\n")
    assert read(reader, b"lost 2\n").endswith(b"x\nlost 2\n")


def test_the_end_waits_for_a_reader(pipe: tuple[int, LossyStream]) -> None:
    """What still waits at the end comes out where somebody reads, and without a reader the end comes all the same."""
    reader, stream = pipe
    stream.write("y" * 300_000 + "\n")
    began = time.monotonic()
    stream.drain()
    assert time.monotonic() - began < 4
    pid = os.fork()
    if not pid:
        with os.fdopen(reader, "rb", closefd=False) as file:
            os._exit(0 if file.readline() == b"y" * 300_000 + b"\n" else 1)
    stream.drain()
    assert os.waitpid(pid, 0)[1] == 0
    assert stream.dropped == 0


def test_a_descriptor_that_does_not_block(pipe: tuple[int, LossyStream]) -> None:
    """Where somebody who shares the descriptor has made it non-blocking, a full pipe is waited for, nothing is lost."""
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    stream.write("z" * 200_000 + "\n")
    assert read(reader, b"\n") == b"z" * 200_000 + b"\n"
    assert stream.dropped == 0


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Lines for which there is no room are dropped, and counted before the first one that can be written again."""
    mended = tmp_path / "log"
    with Path("/dev/full").open("w") as out, mended.open("w") as file:
        stream = LossyStream(out, "lost {}\n".format)
        for _ in range(4):
            stream.write("no\n")
        stream.drain()
        os.dup2(file.fileno(), out.fileno())
        stream.write("yes\n")
        stream.drain()
        assert mended.read_text() == "lost 4\nyes\n"
        assert stream.dropped == 4


def test_a_reader_that_is_gone() -> None:
    """A pipe that nobody will ever read again costs nothing but the lines, and does not delay the end."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        stream = LossyStream(out)
        stream.write("a\n")
        stream.write("b\n")
        stream.drain()
        assert stream.dropped == 2
