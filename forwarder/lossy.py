"""A stream of lines that never makes its writer wait.

Standard error may be a pipe that nobody reads, a terminal on which somebody pressed Ctrl-S, or a file on a
full disk. A write to it can take for ever, and the event loop would stand still for as long. So lines are
handed to a separate thread, which holds up to `MAX_BYTES` of them. Lines that do not fit or cannot be written
are dropped and counted. As soon as writing works again, the log says how many are missing, at the place where
they are missing. When the process ends, the lines that are still waiting are written as long as somebody
reads them.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TextIO, cast

MAX_BYTES: Final = 1024 * 1024
"""Bytes of text that may wait to be written: several thousand lines."""

# Seconds to wait at the end of the process: for progress, that is, for the next piece to be written, and in total.
_PATIENCE: Final = 0.5
_ALL_SECONDS: Final = 5.0
# Bytes that are written at once: as many as a pipe accepts without splitting them (PIPE_BUF, pipe(7)).
_PIECE: Final = 4096


class LossyStream(io.TextIOBase):
    """Writes to the descriptor of `out` from a thread; `words` makes the line that says how many are missing."""

    def __init__(self, out: TextIO, words: Callable[[int], str] = "{} lines of the log were lost\n".format) -> None:
        self.words = words
        self.dropped = 0
        """Lines that were dropped since the start."""
        self._descriptor = out.fileno()
        self._is_terminal = out.isatty()
        self._encoding = out.encoding
        # Everything below is shared by the writers and the thread, and is changed only with the lock of `_changed`
        # held; the exception is `_is_whole`, which only the thread uses.
        #
        # Text in the order of writing; a number stands for so many lines that are missing at its place.
        self._waiting: deque[bytes | int] = deque()
        # Bytes of text in `_waiting`, and of the text that is being written.
        self._held = 0
        # Lines that were dropped since the last number was put into `_waiting`.
        self._untold = 0
        # A write has failed. Nothing is tried again until there is new text, or the thread would spin on the error.
        self._is_broken = False
        self._is_writing = False
        # Bytes written so far, by which `drain` sees that somebody is reading.
        self._written = 0
        # Whether the last write ended with a newline. If not, a message of ours must begin on a new line.
        self._is_whole = True
        self._changed = threading.Condition()
        # A daemon thread, because it may hang in a write for ever and must not keep the interpreter from exiting.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    # --- the stream, as Python sees it ---------------------------------------------------------

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return self._is_terminal

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing, because lines are written as soon as possible in any case."""

    def write(self, text: str) -> int:
        """Take a line, or a part of one, to be written; return at once."""
        data = text.encode(self._encoding, self.errors)
        with self._changed:
            # Drop the new line, not a waiting one, so that there is one gap, behind the lines that were kept.
            if self._held + len(data) > MAX_BYTES:
                self._untold += data.count(b"\n")
                self.dropped += data.count(b"\n")
            else:
                self._tell()
                self._waiting.append(data)
                self._held += len(data)
                self._is_broken = False
            self._changed.notify_all()
        return len(text)

    def drain(self) -> None:
        """Wait until everything is written, but only while somebody reads: half a second for each piece, 5 s in all."""
        end = time.monotonic() + _ALL_SECONDS
        with self._changed:
            while not self._is_idle() and time.monotonic() < end:
                written = self._written
                if not self._changed.wait_for(partial(self._is_beyond, written), _PATIENCE):
                    return

    def _is_idle(self) -> bool:
        return not self._waiting and not self._is_writing and (not self._untold or self._is_broken)

    def _is_beyond(self, written: int) -> bool:
        return self._written > written or self._is_idle()

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            # The lock is held only to take the next piece, never during a write, so that writers do not wait.
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or (self._untold and not self._is_broken))
                # There is no text left, only lines that are missing at the end: say so now.
                if not self._waiting:
                    self._tell()
                taken = self._waiting.popleft()
                self._is_writing = True
            if isinstance(taken, int):
                self._write_told(taken)
            else:
                self._write_text(taken)

    def _write_text(self, data: bytes) -> None:
        try:
            self._write(data)
        except OSError:
            with self._changed:
                self._is_broken = True
                self._untold += data.count(b"\n")
                self.dropped += data.count(b"\n")
        with self._changed:
            self._held -= len(data)

    def _write_told(self, lines: int) -> None:
        """Write how many lines are missing, on a line of its own."""
        words = self.words(lines)
        try:
            self._write((words if self._is_whole else f"\n{words}").encode(self._encoding, self.errors))
        except OSError:
            with self._changed:
                self._is_broken = True
                self._untold += lines

    def _write(self, data: bytes) -> None:
        while data:
            size = self._write_some(data[:_PIECE])
            self._is_whole = data[:size].endswith(b"\n") if size else self._is_whole
            data = data[size:]
            with self._changed:
                self._written += size
                self._changed.notify_all()

    def _write_some(self, piece: bytes) -> int:
        try:
            return os.write(self._descriptor, piece)
        except BlockingIOError:
            # Another process that shares the descriptor has made it non-blocking, so wait here instead.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0

    def _tell(self) -> None:
        """Mark this place as the one where lines are missing. The lock must be held."""
        if self._untold:
            self._waiting.append(self._untold)
            self._untold = 0


def make_stderr_lossy() -> None:
    """From now on send everything for standard error, including tracebacks, through a LossyStream."""
    try:
        sys.stderr = cast("TextIO", LossyStream(sys.stderr))
    except io.UnsupportedOperation:
        # It has no descriptor, so it is in memory, where writing never blocks.
        return


def drain_stderr() -> None:
    """Wait until everything for standard error is written, as long as somebody reads it."""
    if isinstance(sys.stderr, LossyStream):
        sys.stderr.drain()


def dropped_lines() -> int:
    """Return how many lines of the log were dropped since the start of the process."""
    return sys.stderr.dropped if isinstance(sys.stderr, LossyStream) else 0
