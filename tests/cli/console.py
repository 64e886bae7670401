"""Run the command line inside the test, with its own standard streams, plain or on a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any
from unittest import mock

from forwarder.cli.root import cli
from tests.fixtures import PATIENCE


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run(*args: str, stdin: bytes | int = b"") -> Ended:
    """Run a command with pipes, not a terminal; `stdin` is what it can read, or a descriptor."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with tempfile.TemporaryFile() as file:
        if isinstance(stdin, bytes):
            file.write(stdin)
            file.seek(0)
        source: IO[Any] = file if isinstance(stdin, bytes) else os.fdopen(stdin, "rb")
        with source, _streams(source, out, err):
            code = _call(args)
    return Ended(code, _text(out), _text(err))


def run_on_terminal(*args: str, typed: bytes = b"", **environ: str) -> Ended:
    """Run a command on a terminal on which `typed` is typed; everything it prints is in `out`."""
    environ = {"TERM": "xterm", "COLUMNS": "160", "NO_COLOR": "1", **environ}
    ours, theirs = pty.openpty()
    read: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, read))
    reader.start()
    os.write(ours, typed)
    with (
        os.fdopen(theirs, "r", closefd=False) as stdin,
        os.fdopen(theirs, "w", closefd=False) as out,
        os.fdopen(theirs, "w", closefd=False) as err,
        mock.patch.dict(os.environ, environ),
        _streams(stdin, out, err),
    ):
        code = _call(args)
    os.close(theirs)
    reader.join(PATIENCE)
    os.close(ours)
    return Ended(code, b"".join(read).decode().replace("\r\n", "\n"), "")


def _drain(terminal: int, read: list[bytes]) -> None:
    while True:
        try:
            read.append(os.read(terminal, 65536))
        except OSError:
            # The other side has closed the terminal (EIO, pty(7)).
            return


@contextlib.contextmanager
def _streams(stdin: Any, out: Any, err: Any) -> Iterator[None]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FORWARDER_")}
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "stdin", stdin),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
    ):
        yield


def _call(args: tuple[str, ...]) -> int:
    try:
        cli.main(list(args), prog_name="forwarder")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
