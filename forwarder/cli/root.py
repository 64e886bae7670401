"""The root of the command line: the list of commands, and what happens when one of them fails.

A command is imported only when it is used, so that no command slows down the start of another. Errors
are reported in one or two lines on standard error, never as a traceback. The exit code is that of the
error: 1 a negative answer, 2 usage, 69 not available, 74 I/O, 75 another instance holds the queue, 78
configuration. As with other programs, 130 and 141 mean that Ctrl-C or a closed pipe ended the command.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from forwarder import __version__
from forwarder.errors import ForwarderError, InputOutputError

_COMMANDS = {
    "run": "forwarder.cli.run:run_command",
    "check": "forwarder.cli.check:check_command",
    "demo": "forwarder.cli.demo:demo_command",
    "send": "forwarder.cli.send:send_command",
    "reload": "forwarder.cli.reload:reload_command",
    "status": "forwarder.cli.status:status_command",
    "top": "forwarder.cli.top:top_command",
    "queue": "forwarder.cli.queue:queue_group",
    "dead": "forwarder.cli.dead:dead_group",
    "keys": "forwarder.cli.keys:keys_group",
    "receiver": "forwarder.cli.receiver:receiver_command",
    "config": "forwarder.cli.config:config_group",
}
# 128 plus the number of the signal that ends other programs in these cases (SIGINT, SIGPIPE).
_INTERRUPTED = 130
_PIPE_CLOSED = 141


class LazyGroup(click.Group):
    """A group that imports commands when they are used; `table` maps each name to its `module:attribute`."""

    def __init__(self, *args: Any, table: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which leads from the first start to daily work."""
        return [*self._table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._table[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong, end with a message and an exit code."""
        _write_any_text()
        try:
            super().invoke(ctx)
            # It is None if the caller closed it (`>&-`).
            if sys.stdout is not None:
                sys.stdout.flush()
        except ForwarderError as error:
            report(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            _drop_output()
            ctx.exit(_PIPE_CLOSED)
        except UnicodeEncodeError as error:
            # Python represents bytes on the command line that are not valid text as lone surrogates (PEP 383).
            report(InputOutputError(f"{error.object!r} is not UTF-8"))
            ctx.exit(click.UsageError.exit_code)
        except OSError as error:
            _drop_output()
            report(InputOutputError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
            ctx.exit(InputOutputError.exit_code)
        except (KeyboardInterrupt, click.Abort):
            # End the line on which the terminal shows ^C.
            click.echo(err=True)
            ctx.exit(_INTERRUPTED)


def report(error: ForwarderError) -> None:
    """Print the message, and the hint if there is one, to standard error."""
    click.echo(f"forwarder: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _write_any_text() -> None:
    """Print characters that the terminal's encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Discard what is still buffered for standard output, so that the exit does not fail on it again."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@click.group(cls=LazyGroup, table=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Accept events locally, queue them durably, deliver them signed to the Event API."""


@cli.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"forwarder {__version__}")
