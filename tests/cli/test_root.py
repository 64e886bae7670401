"""How the command line starts, and how every command ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from forwarder import __version__
from forwarder.cli import root
from forwarder.errors import ConfigError, NotReachableError, Problem, QueueLockedError
from tests.cli.console import Ended, run
from tests.fixtures import PATIENCE

Ending = Callable[[], None]


def end_with(monkeypatch: pytest.MonkeyPatch, ending: Ending) -> Ended:
    """Run a command of the root group that does this."""
    monkeypatch.setitem(root.cli.commands, "try", click.Command("try", callback=ending))
    return run("try")


def raising(error: BaseException) -> Ending:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("args", [("version",), ("--version",)])
def test_version(args: tuple[str, ...]) -> None:
    """Both ways to ask for the version print name and version."""
    assert run(*args) == Ended(0, f"forwarder {__version__}\n", "")


def test_help_shows_every_command() -> None:
    """The help lists every command with a line about it, in the order in which one comes to need them."""
    ended = run("--help")
    assert ended.code == 0
    listed = [line.split(None, 1) for line in ended.out.partition("Commands:\n")[2].splitlines()]
    assert [words[0] for words in listed] == [*root._COMMANDS, "version"]
    assert all(len(words) == 2 and words[1][0].isupper() for words in listed)


def test_commands_are_loaded_on_use() -> None:
    """A command starts without what other commands need."""
    code = (
        "import sys; from forwarder.cli.root import cli; cli.main(['version'], standalone_mode=False);"
        "print([name for name in ('aiohttp', 'yaml', 'rich', 'msgspec', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotReachableError("no answer", hint="start it"), 69, "forwarder: no answer\nhint: start it\n"),
        (QueueLockedError("held by 7"), 75, "forwarder: held by 7\n"),
        (ConfigError([Problem("f:1", "a.b", "is wrong", "Write c.")]), 78, "forwarder: f:1: a.b: is wrong. Write c.\n"),
        (OSError(28, "No space left on device"), 74, "forwarder: [Errno 28] No space left on device\n"),
        (OSError(5, "I/O error", "/x"), 74, "forwarder: /x: I/O error\n"),
        (click.UsageError("which?"), 2, "Error: which?\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, "\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_endings(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    """Each expected error ends in its exit code and one or two lines on standard error."""
    ended = end_with(monkeypatch, raising(error))
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.endswith(said) if code == 2 else ended.err == said


def test_unknown_command() -> None:
    """A command that does not exist is a usage error."""
    ended = run("nope")
    assert ended.code == 2
    assert "nope" in ended.err


def test_text_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that the encoding of the output lacks comes out escaped instead of failing the command."""
    code = (
        "import click; from forwarder.cli.root import cli;"
        "cli.command('try')(lambda: click.echo('snow \\u2603')); cli.main(['try'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "snow \\u2603\n", "")


@pytest.mark.parametrize("words", [["queue", "peek", "-d"], ["dead", "list", "-d"], ["dead", "purge", "--yes", "--id"]])
def test_an_argument_that_is_no_text(words: list[str]) -> None:
    """Bytes that are not UTF-8 where text is wanted are a usage error."""
    ended = run(*words, "\udcff", "--admin", "unix:/nowhere.sock")
    assert ended.code == 2
    assert ended.err == "forwarder: '\\udcff' is not UTF-8\n"


def test_closed_pipe() -> None:
    """A reader that has seen enough, such as `head`, ends the command quietly."""
    code = (
        "import click; from forwarder.cli.root import cli;"
        "cli.command('try')(lambda: [click.echo('x' * 1000) for _ in range(10000)]); cli.main(['try'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""


def test_full_disk() -> None:
    """An output that takes nothing more ends in exit code 74 and its words, once."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "forwarder", "version"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 74
    assert done.stderr == b"forwarder: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("forwarder version >&-", 0),
        pytest.param("forwarder dead list --admin unix:/nowhere >&- 2>&-", 69, marks=pytest.mark.slow),
        pytest.param("forwarder queue export -d main --admin unix:/nowhere >&-", 74, marks=pytest.mark.slow),
        pytest.param("forwarder send --to unix:/nowhere </dev/null 2>&-", 0, marks=pytest.mark.slow),
        pytest.param("forwarder send --to unix:/nowhere <&-", 74, marks=pytest.mark.slow),
        pytest.param("forwarder dead purge --all --admin unix:/nowhere <&-", 2, marks=pytest.mark.slow),
    ],
)
def test_closed_streams(command: str, code: int) -> None:
    """A standard stream that the caller has closed is no reason for a traceback."""
    command = command.replace("forwarder", f"{sys.executable} -m forwarder", 1)
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends a command that waits with 130, and without a traceback."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.sock"))
        server.listen()
        # Whoever runs the tests in the background may have them ignore the signal, and what they start with them.
        words = ["env", "--default-signal=INT", sys.executable, "-m", "forwarder"]
        command = [*words, "send", "--to", f"unix:{tmp_path}/s.sock"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stdin is not None
            process.stdin.write(b"{}\n")
            process.stdin.flush()
            connection, _ = server.accept()
            with connection:
                assert connection.recv(10) == b"{}\n"
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 130
            assert process.stderr is not None
            assert process.stderr.read() == b"\n"
