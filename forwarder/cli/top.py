"""`forwarder top`: watch the daemon live, and steer its destinations with keys.

The daemon is asked on a thread of its own, so that the keys work while it takes its time, and the terminal is
given back as it was, whatever ends the command.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from types import FrameType

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from forwarder.admin.dead import DeadLine
from forwarder.cli.client import AdminClient, destination_path, usage, with_admin
from forwarder.cli.overview import Line, drawing
from forwarder.cli.screen import DEAD_LETTERS, Act, Screen
from forwarder.cli.text import on_terminal
from forwarder.errors import NegativeAnswerError, NotReachableError

# Seconds between two looks; the daemon itself finds out its rates and conditions as often.
_SECONDS = 2.0
# Seconds to wait for an answer, before the screen says that there is none.
_PATIENCE = 10.0
# What terminals send for keys (ECMA-48, and the application mode of xterm).
_KEYS = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[D": "left",
    b"\x1bOD": "left",
    b"\x1b": "esc",
    b"\r": "enter",
    b"\n": "enter",
}
_DONE = {"pause": "paused", "resume": "resumed", "flush": "attempting a delivery now"}


@click.command("top")
@with_admin
def top_command(admin: AdminClient) -> None:
    """Watch the daemon live: state, rates, charts, and why events wait.

    Keys pause, resume and flush the destination that is selected, and show its dead letters.
    """
    if not (on_terminal() and sys.stdin is not None and sys.stdin.isatty()) or os.environ.get("TERM") == "dumb":
        raise usage("top draws on a terminal, and there is none; `forwarder status --watch` prints")
    screen, asker = Screen(), _Asker(admin.within(_PATIENCE))
    console = Console(highlight=False, markup=False, emoji=False)
    with (
        _signals(asker.wake),
        _raw(sys.stdin.fileno()),
        Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        asker.start()
        while True:
            width, height = console.size
            how = drawing(width, console.encoding)
            live.update(_text(screen.lines(height, how)), refresh=True)
            for key in _wait(asker):
                act = screen.press(key)
                if act is not None and act.verb == "quit":
                    return
                if act is not None:
                    asker.jobs.put(act)
            asker.tell(screen)


def _text(lines: list[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for words, style in line:
            text.append(words, style)
    return text


# --- the terminal --------------------------------------------------------------------------------


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Have each key at once and unseen; Ctrl-C still ends the command, Ctrl-Z does nothing."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        now = termios.tcgetattr(terminal)
        # A stopped program would leave its screen behind.
        now[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(terminal, termios.TCSANOW, now)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals(wake: Callable[[], None]) -> Iterator[None]:
    """Draw anew when the size changes, and leave the terminal in order when told to end."""

    def resized(_number: int, _frame: FrameType | None) -> None:
        wake()

    def told(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers = {signal.SIGWINCH: resized, signal.SIGTERM: told, signal.SIGHUP: told}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(asker: _Asker) -> Iterator[str]:
    """Wait until there is something to do; yield the keys that were pressed."""
    terminal = sys.stdin.fileno()
    ready, _, _ = select.select([terminal, asker.bell], [], [])
    if asker.bell in ready:
        os.read(asker.bell, 1024)
    if terminal in ready:
        typed = os.read(terminal, 1024)
        if not typed:
            # The terminal has gone.
            yield "q"
        yield from keys_of(typed)


def keys_of(typed: bytes) -> Iterator[str]:
    """Yield the keys by their names; a sequence that is none of ours is passed over as a whole."""
    while typed:
        found = next((code for code in sorted(_KEYS, key=len, reverse=True) if typed.startswith(code)), None)
        if found == b"\x1b" and len(typed) > 1 and typed[1:2] in b"[O":
            # Another function key: its letters must not be taken for ours.
            end = next((at for at, byte in enumerate(typed[2:], 3) if 0x40 <= byte <= 0x7E), len(typed))
            typed = typed[end:]
        elif found is not None:
            yield _KEYS[found]
            typed = typed[len(found) :]
        else:
            yield chr(typed[0])
            typed = typed[1:]


# --- the daemon ----------------------------------------------------------------------------------


class _Asker(threading.Thread):
    """Asks the daemon for its status every two seconds and after each act, and does the acts."""

    def __init__(self, admin: AdminClient) -> None:
        # It may wait for an answer when the command ends.
        super().__init__(name="asker", daemon=True)
        self.jobs: queue.SimpleQueue[Act] = queue.SimpleQueue()
        self._admin = admin
        self._told: queue.SimpleQueue[Callable[[Screen], None]] = queue.SimpleQueue()
        self.bell, self._rope = os.pipe()
        os.set_blocking(self._rope, False)

    def wake(self) -> None:
        """Have the screen drawn anew."""
        # A pipe that is full wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._rope, b"!")

    def tell(self, screen: Screen) -> None:
        """Tell the screen what was said since the last time."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._told.get_nowait()(screen)

    def run(self) -> None:
        """Ask until the process ends."""
        while True:
            self._look()
            with contextlib.suppress(queue.Empty):
                self._act(self.jobs.get(timeout=_SECONDS))

    def _say(self, told: Callable[[Screen], None]) -> None:
        self._told.put(told)
        self.wake()

    def _look(self) -> None:
        try:
            status, at = self._admin.status(), time.monotonic()
        except (NotReachableError, NegativeAnswerError) as error:
            words = error.message
            self._say(lambda screen: screen.failed(words))
        else:
            self._say(lambda screen: screen.saw(status, at))

    def _act(self, act: Act) -> None:
        try:
            self._say(self._do(act))
        except (NotReachableError, NegativeAnswerError, click.UsageError) as error:
            words = error.message
            self._say(lambda screen: screen.note(words))

    def _do(self, act: Act) -> Callable[[Screen], None]:
        """Do what a key asked for; return what to tell the screen."""
        name = act.destination
        if act.verb == "dead":
            query = {"destination": name, "limit": str(DEAD_LETTERS)}
            letters = [self._admin.decode(line, DeadLine) for line in self._admin.lines("/v1/dead", query)]
            return lambda screen: screen.show_letters(name, letters)
        self._admin.ask("POST", destination_path(name, act.verb))
        return lambda screen: screen.note(f"{name}: {_DONE[act.verb]}")
