"""What `send` shows while it works: a bar on a terminal, elsewhere a line when it has to wait."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from forwarder.cli.reader import Feed
from forwarder.cli.report import Tally
from forwarder.cli.text import printable


@contextlib.contextmanager
def show_progress(tally: Tally, feed: Feed) -> Iterator[None]:
    """Show on standard error how the tally moves."""
    showing = _bar(tally, feed) if sys.stderr is not None and sys.stderr.isatty() else _lines(tally)
    with showing:
        yield


@contextlib.contextmanager
def _lines(tally: Tally) -> Iterator[None]:
    told = ""

    def changed() -> None:
        nonlocal told
        if tally.waiting and tally.waiting != told:
            click.echo(f"waiting: {printable(tally.waiting)}", err=True)
        told = tally.waiting

    tally.changed = changed
    yield


@contextlib.contextmanager
def _bar(tally: Tally, feed: Feed) -> Iterator[None]:
    # Loading rich takes longer than sending a few events; without a terminal it is not needed.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [
        SpinnerColumn(),
        BarColumn(),
        *([TaskProgressColumn()] if feed.size is not None else []),
        TextColumn("{task.fields[events]:,} events", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=feed.size, events=0)

        def changed() -> None:
            progress.update(
                task,
                completed=feed.bytes_read,
                events=tally.stored,
                description=printable(tally.waiting),
            )

        tally.changed = changed
        yield
        changed()
