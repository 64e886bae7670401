"""Show the progress of `send`: as a bar on a terminal, elsewhere as a line when it has to wait."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from forwarder.cli.reader import Reader
from forwarder.cli.report import Report
from forwarder.cli.text import printable


def show_progress(report: Report, chunks: Reader) -> contextlib.AbstractContextManager[None]:
    """Show on standard error how far the report has come, as long as the block lasts."""
    return _bar(report, chunks) if sys.stderr is not None and sys.stderr.isatty() else _lines(report)


@contextlib.contextmanager
def _lines(report: Report) -> Iterator[None]:
    told = ""

    def changed() -> None:
        nonlocal told
        if report.waiting and report.waiting != told:
            click.echo(f"waiting: {printable(report.waiting)}", err=True)
        told = report.waiting

    report.changed = changed
    yield


@contextlib.contextmanager
def _bar(report: Report, chunks: Reader) -> Iterator[None]:
    # Imported late: loading rich takes longer than sending a few events, and only a terminal needs it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [
        SpinnerColumn(),
        BarColumn(),
        *([TaskProgressColumn()] if chunks.size is not None else []),
        TextColumn("{task.fields[events]:,} events", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=chunks.size, events=0)

        def changed() -> None:
            progress.update(
                task,
                completed=chunks.bytes_read,
                events=report.stored,
                description=printable(report.waiting),
            )

        report.changed = changed
        yield
        changed()
