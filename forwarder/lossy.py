"""A stream of lines that never makes its writer wait.

Standard error may be a pipe that nobody reads, a terminal on which somebody pressed Ctrl-S, or a file on the disk
that is full; a write to it can last for ever, and an event loop that writes would stand still as long. So lines go
to a thread of their own, up to `MAX_BYTES` of them. What does not fit, and what cannot be written, is dropped and
counted, and the count stands in the log as soon as a line can be written again: where the lines are missing, or after
the last one. What waits when the process ends still comes out, as long as somebody goes on reading.
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
"""What may wait to be written: some thousand lines."""

# Seconds at the end of the process: for the next piece to be taken, and for all of it.
_PATIENCE: Final = 0.5
_ALL_SECONDS: Final = 5.0
# Bytes that are written at once: what a pipe takes in one piece (PIPE_BUF, pipe(7)).
_PIECE: Final = 4096


class LossyStream(io.TextIOBase):
    """Writes to the descriptor of `out` from a thread; `words` makes the line that says how many were dropped."""

    def __init__(self, out: TextIO, words: Callable[[int], str] = "{} lines of the log were lost\n".format) -> None:
        self.words = words
        self.dropped = 0
        """Lines that were dropped since the start."""
        self._descriptor = out.fileno()
        self._is_terminal = out.isatty()
        self._encoding = out.encoding
        # Text that waits, and between it how many lines are missing at that place.
        self._waiting: deque[bytes | int] = deque()
        self._held = 0
        self._untold = 0
        # A write has failed; no other is tried before there is something to write again.
        self._is_broken = False
        self._is_writing = False
        self._written = 0
        # What was written last ended a line.
        self._is_whole = True
        self._changed = threading.Condition()
        # Not waited for by the interpreter: it may hang in a write for ever.
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
        """Do nothing: a line is on its way, or lost."""

    def write(self, text: str) -> int:
        """Take a line, or a part of one, to be written; return at once."""
        data = text.encode(self._encoding, self.errors)
        with self._changed:
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
        """Wait for what is still to be written, while somebody reads it: half a second for each piece, 5 s for all."""
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
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or (self._untold and not self._is_broken))
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
        """Write that lines are missing, on a line of its own."""
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
            # Whoever shares the descriptor has made it non-blocking.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0

    def _tell(self) -> None:
        """Let it stand here how many lines are missing; the lock is held."""
        if self._untold:
            self._waiting.append(self._untold)
            self._untold = 0


def make_stderr_lossy() -> None:
    """Let everything that goes to standard error, tracebacks too, go through a LossyStream from now on."""
    try:
        sys.stderr = cast("TextIO", LossyStream(sys.stderr))
    except io.UnsupportedOperation:
        # It is in memory: nothing there has to be waited for.
        return


def drain_stderr() -> None:
    """Wait for what is still to be written to standard error, while somebody reads it."""
    if isinstance(sys.stderr, LossyStream):
        sys.stderr.drain()


def dropped_lines() -> int:
    """Return how many lines of the log were dropped since the start of the process."""
    return sys.stderr.dropped if isinstance(sys.stderr, LossyStream) else 0
