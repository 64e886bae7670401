"""`forwarder top` in a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.admin.steering import DestinationStatus
from forwarder.cli.top import keys_of
from forwarder.model import LastError, State
from tests.admin.serving import Served, served_in_thread
from tests.cli.console import run
from tests.queue.watched import NOW

# Each starts the real command.
pytestmark = pytest.mark.slow

PATIENCE = 60.0
# Where the cursor goes, colours, and the like (ECMA-48).
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of a size, on which a command runs."""

    def __init__(self, *command: str, rows: int = 24, columns: int = 80, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.seen = self.raw = ""
        kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forwarder", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm-256color", **environ},
            start_new_session=True,
            # Without a controlling terminal there is no Ctrl-C and no SIGWINCH.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, words: str) -> str:
        """Return what has been printed, without controls, once `words` have come; forget all that came before."""
        deadline = time.monotonic() + PATIENCE
        while words not in (plain := _CONTROLS.sub("", self.seen)):
            assert time.monotonic() < deadline, f"{words!r} is not in {plain!r}"
            self._read()
        self.raw, self.seen = self.seen, ""
        return plain

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.1)[0]:
            self.seen += os.read(self._ours, 65536).decode()

    def ended(self) -> int:
        """Return the exit code; whatever is still printed is read."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self._read()
        self._read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in_thread(tmp_path, "main", "audit") as served:
        said = LastError(NOW, 403, "no \x1b]0;x\x07\x1b[2J")
        served.daemon.states["audit"] = DestinationStatus(State.HOLDING, 3, 60.0, None, said)
        yield served


@pytest.fixture
def terminal(served: Served) -> Iterator[Terminal]:
    terminal = Terminal("top", "--admin", str(served.address))
    yield terminal
    terminal.close()


def test_keys_steer_the_daemon(served: Served, terminal: Terminal) -> None:
    """Each key acts on the selected destination and says so; q ends it and gives the terminal back as it was."""
    terminal.until("main: idle")
    for key, verb, told in ((b"p", "pause", "paused"), (b"r", "resume", "resumed"), (b"f", "flush", "attempting")):
        terminal.type(key)
        terminal.until(f"main: {told}")
        assert served.daemon.told[-1] == (verb, "main")
    terminal.type(b"\x1b[Bp")
    terminal.until("audit: paused")
    assert served.daemon.told[-1] == ("pause", "audit")
    terminal.type(b"q")
    assert terminal.ended() == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.before
    # The screen that was there before is shown again, and so is the cursor.
    assert "\x1b[?1049l" in terminal.seen
    assert "\x1b[?25h" in terminal.seen


def test_dead_letters(served: Served, terminal: Terminal) -> None:
    """Those of the selected destination are listed and can be read; nothing in them reaches the terminal."""
    served.queue.bury(detail="bad \x1b[31m", event=b'{"eventType":"\\u001b[2J"}')
    terminal.until("main: idle")
    terminal.type(b"d")
    terminal.until("main: 1 dead letters")
    terminal.type(b"\r")
    shown = terminal.until('"eventType"')
    assert "bad \\u001b[31m" in shown
    terminal.type(b"\x1b")
    terminal.until("the oldest first")
    terminal.type(b"\x1b")
    terminal.until("main: idle")


def test_what_a_destination_said_cannot_steer_the_terminal(terminal: Terminal) -> None:
    """It is shown with its control characters as escapes."""
    terminal.until("main: idle")
    terminal.type(b"j")
    shown = terminal.until("why: it answered 403")
    assert "\x07" not in shown
    assert "\x1b" not in shown
    assert "\\u001b]0;x" in shown


def test_another_size(terminal: Terminal) -> None:
    """A window that is made wider shows more at once."""
    assert "DELIVERED" not in terminal.until("q quit")
    terminal.resize(40, 160)
    terminal.until("DELIVERED")


def test_a_daemon_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """What was seen last stays on the screen with the reason, and the view goes on when the daemon is back."""
    with served_in_thread(tmp_path, "main") as served:
        terminal = Terminal("top", "--admin", str(served.address))
        terminal.until("main: idle")
    try:
        terminal.until("not up to date")
        with served_in_thread(tmp_path, "main", "other"):
            terminal.until("other")
    finally:
        terminal.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_is_told_to_end(terminal: Terminal, number: int, code: int) -> None:
    """A signal ends it, and the terminal is as it was."""
    terminal.until("main: idle")
    terminal.process.send_signal(number)
    assert terminal.ended() == code
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_ctrl_c(terminal: Terminal) -> None:
    """Ctrl-C ends it as it ends other programs; Ctrl-Z does nothing."""
    terminal.until("main: idle")
    terminal.type(b"\x1a")
    terminal.type(b"\x03")
    assert terminal.ended() == 130
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_without_colours(served: Served) -> None:
    """With NO_COLOR nothing is coloured."""
    terminal = Terminal("top", "--admin", str(served.address), NO_COLOR="1")
    try:
        terminal.until("main: idle")
        terminal.type(b"j")
        terminal.until("why: it answered 403")
        assert not re.search(r"\x1b\[[0-9;]*(3[0-8]|9[0-7])[0-9;]*m", terminal.raw)
    finally:
        terminal.close()


def test_colours(terminal: Terminal) -> None:
    """A state that is not well stands out."""
    terminal.until("main: idle")
    assert re.search(r"\x1b\[[0-9;]*31m *holding", terminal.raw)


def test_no_terminal(served: Served) -> None:
    """In a pipe, or on a terminal that cannot be drawn on, it says what to use instead."""
    ended = run("top", "--admin", str(served.address))
    assert ended.code == 2
    assert "status --watch" in ended.err


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"pq", ["p", "q"]),
        (b"\x1b[A\x1bOBj", ["up", "down", "j"]),
        (b"\x1b", ["esc"]),
        (b"\x1b[5~\x1b[1;5Cq", ["q"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\xff\x00", ["\xff", "\x00"]),
    ],
)
def test_keys(typed: bytes, keys: list[str]) -> None:
    """Keys have names; of a function key that means nothing no letter is taken for a key."""
    assert list(keys_of(typed)) == keys
