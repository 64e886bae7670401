"""`forwarder status`: show what the daemon is doing."""

from __future__ import annotations

from collections.abc import Iterator

import click

from forwarder.admin.status import DestinationState, ErrorState, Status
from forwarder.cli.client import AdminClient, with_admin
from forwarder.cli.text import ago, duration, print_table, printable, size
from forwarder.errors import NegativeAnswerError

_COLUMNS = (
    "DESTINATION",
    "STATE",
    "QUEUED",
    "OLDEST",
    "DELIVERED",
    "DEAD",
    "DROPPED",
    "ATTEMPTS",
    "NEXT",
    "SUCCESS",
    "LAST ERROR",
)
_RIGHT = frozenset({"QUEUED", "OLDEST", "DELIVERED", "DEAD", "DROPPED", "ATTEMPTS", "NEXT"})
_BAR = 20
# The most characters that are shown of a destination's answer; more of it is in the dead letters and the log.
_DETAIL = 60


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as it is.")
@with_admin
@click.pass_context
def status_command(ctx: click.Context, admin: AdminClient, as_json: bool) -> None:
    """Show what the daemon is doing now.

    Exits with 0 if it can accept events, with 1 if it runs but cannot, and with 69 if it does not answer.
    """
    body = admin.ask("GET", "/v1/status")
    status = admin.decode(body, Status)
    if as_json:
        click.echo(body)
    else:
        _print(status, _reason(admin) if not status.ready else "")
    if not status.ready:
        ctx.exit(1)


def _reason(admin: AdminClient) -> str:
    """Return why the daemon cannot accept events."""
    try:
        admin.ask("GET", "/readyz")
    except NegativeAnswerError as error:
        return error.message
    return "it has just become ready again"


def _print(status: Status, reason: str) -> None:
    ready = "ready" if status.ready else f"NOT READY: {reason}"
    click.echo(f"forwarder {printable(status.version)}, up {duration(status.uptime_seconds)}, {ready}")
    if (refused := status.reload_refused) is not None:
        click.echo(f"RELOAD REFUSED {ago(refused.at)}, the configuration before it goes on:")
        for problem in refused.problems:
            click.echo(f"  {printable(problem)}")
    queue = status.queue
    share = min(1.0, queue.bytes / queue.max_bytes) if queue.max_bytes else 0.0
    bar = "█" * round(share * _BAR)
    full = ", FULL" if queue.full else ""
    click.echo(
        f"queue {bar:░<{_BAR}} {share:.0%} of {size(queue.max_bytes)} ({size(queue.bytes)}, "
        f"{printable(queue.backend)}){full}\n"
    )
    print_table(_COLUMNS, _rows(status.destinations), right=_RIGHT)
    for name, state in status.destinations.items():
        if state.reason is not None:
            click.echo(f"{printable(name)}: {printable(state.reason)}")


def _rows(destinations: dict[str, DestinationState]) -> Iterator[tuple[str, ...]]:
    for name, state in destinations.items():
        oldest, upcoming = state.oldest_age_seconds, state.next_attempt_in_seconds
        yield (
            printable(name),
            state.state.value,
            f"{state.queued:,}",
            "-" if oldest is None else duration(oldest),
            f"{state.delivered:,}",
            f"{state.dead:,}",
            f"{state.dropped:,}",
            f"{state.attempts:,}",
            "-" if upcoming is None else f"in {duration(upcoming)}",
            "-" if state.last_success is None else ago(state.last_success),
            "-" if state.last_error is None else _words(state.last_error),
        )


def _words(error: ErrorState) -> str:
    status = "" if error.status is None else f"{error.status} "
    detail = printable(error.detail)
    return f"{status}{ago(error.at)}: {detail if len(detail) <= _DETAIL else detail[: _DETAIL - 1] + '…'}"
