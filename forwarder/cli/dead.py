"""`forwarder dead`: list, show, replay, export and purge dead letters, the events that were given up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from forwarder.admin.dead import DeadLine, Wanted
from forwarder.cli.client import AdminClient, usage, with_admin
from forwarder.cli.options import parsed
from forwarder.cli.output import open_output
from forwarder.cli.queue import agreed, object_option, source_option
from forwarder.cli.text import clock, counted, on_terminal, print_table, printable
from forwarder.config import parse_duration

Command = TypeVar("Command", bound=Callable[..., Any])

# How many letters are listed on a terminal, a few screens; a pipe gets all of them.
_SCREEN = 100
_DETAIL = 60
_COLUMNS = ("ID", "DIED", "DESTINATION", "REASON", "STATUS", "EVENT ID", "DETAIL")
_RIGHT = frozenset({"ID", "STATUS"})
_REASONS = ("rejected", "too_large", "failing", "expired", "damaged", "invalid")


def with_filters(command: Command) -> Command:
    """Add the options for selecting dead letters; the command gets them as `wanted`."""

    @click.option("--destination", "-d", metavar="NAME", help="Those of one destination.")
    @click.option("--id", "ids", multiple=True, metavar="ID", help="A number or an eventId; may be repeated.")
    @click.option("--reason", type=click.Choice(_REASONS), help="Why they are there.")
    @click.option(
        "--older-than",
        callback=parsed(parse_duration),
        metavar="DURATION",
        help="Those given up longer ago than this, such as 36h or 7d.",
    )
    @source_option
    @object_option
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        destination: str | None,
        ids: tuple[str, ...],
        reason: str | None,
        older_than: float | None,
        source: str | None,
        about: str | None,
        **kwargs: Any,
    ) -> Any:
        wanted = Wanted(destination, [*ids] or None, reason, older_than, source, about)
        return command(*args, wanted=wanted, **kwargs)

    return wrapped  # type: ignore[return-value]


@click.group("dead", short_help="List, replay, export or purge dead letters.")
def dead_group() -> None:
    """The dead letters: events that were given up, kept until they are replayed or purged."""


@dead_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything about each, one JSON object a line.")
@click.option("--limit", type=click.IntRange(min=1), help=f"How many; on a terminal {_SCREEN} if not given.")
@with_filters
@with_admin
def list_command(admin: AdminClient, wanted: Wanted, as_json: bool, limit: int | None) -> None:
    """List dead letters, the oldest first."""
    if limit is None and on_terminal() and not as_json:
        limit = _SCREEN
    # Ask for one more than is shown, to know whether there are more.
    lines = admin.lines("/v1/dead", _query(wanted, None if limit is None else limit + 1))
    first = next(lines, None)
    if first is None:
        click.echo(_nothing(wanted), err=True)
        return
    lines = chain([first], lines)
    shown = islice(lines, limit)
    if as_json:
        for line in shown:
            click.echo(line)
    else:
        print_table(_COLUMNS, (_row(admin.decode(line, DeadLine)) for line in shown), right=_RIGHT)
    if next(lines, None) is not None:
        click.echo(f"there are more than these {limit:,}", err=True)


@dead_group.command()
@click.argument("given", nargs=-1, metavar="ID...")
@click.option("--id", "ids", multiple=True, metavar="ID", help="The same, as with the other commands.")
@with_admin
@click.pass_context
def show(ctx: click.Context, admin: AdminClient, given: tuple[str, ...], ids: tuple[str, ...]) -> None:
    """Show everything about dead letters, the events included. Exits with 1 if there is no such dead letter.

    ID is a number or an eventId.
    """
    wanted = Wanted(ids=[*given, *ids])
    if not wanted.ids:
        raise usage("say which: a number or an eventId, as `forwarder dead list` shows them")
    found = 0
    for line in admin.lines("/v1/dead", _query(wanted)):
        click.echo("\n" * bool(found) + describe(admin.decode(line, DeadLine)))
        found += 1
    if not found:
        click.echo(_nothing(wanted), err=True)
        ctx.exit(1)


@dead_group.command()
@click.option("--all", "everything", is_flag=True, help="Every dead letter, where no filter is given.")
@with_filters
@with_admin
def replay(admin: AdminClient, wanted: Wanted, everything: bool) -> None:
    """Put dead letters back at the end of their queues, to be delivered again."""
    replayed = admin.count("POST", "/v1/dead/replay", "replayed", _body(wanted, everything))
    stays = next(admin.lines("/v1/dead", _query(wanted, 1)), None) is not None
    if replayed:
        click.echo(f"{counted(replayed, 'dead letter')} put back into the queue")
    elif not stays:
        click.echo(_nothing(wanted))
    if stays:
        words = "what else matches" if replayed else "nothing was put back: what matches"
        click.echo(f"{words} is damaged, or still invalid; see forwarder dead export --full")


@dead_group.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, when complete.")
@click.option("--full", is_flag=True, help="With the reason and everything else, not the events alone.")
@with_filters
@with_admin
def export(admin: AdminClient, wanted: Wanted, output: Path | None, full: bool) -> None:
    """Write the events of dead letters, one a line; `forwarder send` reads such a file."""
    written = damaged = 0
    with open_output(output) as stream:
        for line in admin.lines("/v1/dead", _query(wanted)):
            letter = admin.decode(line, DeadLine)
            if letter.event_base64 is not None and not full:
                damaged += 1
                continue
            stream.write((line if full else bytes(letter.event)) + b"\n")
            written += 1
    click.echo(f"{counted(written, 'event')} exported" if written or damaged else _nothing(wanted), err=True)
    if damaged:
        click.echo(
            f"{counted(damaged, 'event')} left out: not JSON any more; --full exports what is left of them", err=True
        )


@dead_group.command()
@click.option("--all", "everything", is_flag=True, help="Every dead letter, where no filter is given.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_filters
@with_admin
@click.pass_context
def purge(ctx: click.Context, admin: AdminClient, wanted: Wanted, everything: bool, yes: bool) -> None:
    """Drop dead letters for good. They are counted as dropped."""
    body = _body(wanted, everything)
    if not agreed(f"Drop {_words(wanted)}, for good?", yes):
        ctx.exit(1)
    dropped = admin.count("POST", "/v1/dead/purge", "dropped", body)
    click.echo(f"{counted(dropped, 'dead letter')} dropped" if dropped else _nothing(wanted))


def _query(wanted: Wanted, limit: int | None = None) -> dict[str, Any]:
    """Return the filters, and how many letters to list, as query parameters."""
    given = msgspec.to_builtins(wanted) | ({} if limit is None else {"limit": limit})
    return {"id" if name == "ids" else name: value for name, value in given.items()}


def _body(wanted: Wanted, everything: bool) -> Wanted:
    """Return the filters as the body of a request; exits with code 2 if they leave open what is meant."""
    if wanted.is_open and not everything:
        raise usage(
            "say which: --destination, --id, --reason, --older-than, --source or --object, or --all for every dead"
            " letter"
        )
    return msgspec.structs.replace(wanted, all=wanted.is_open)


def _words(wanted: Wanted) -> str:
    """Return what is selected, in words."""
    parts = [
        f"of {wanted.destination}" if wanted.destination is not None else "",
        f"with id {', '.join(map(str, wanted.ids))}" if wanted.ids else "",
        f"with reason {wanted.reason}" if wanted.reason is not None else "",
        f"older than {wanted.older_than:g}s" if wanted.older_than is not None else "",
        f"from {wanted.source}" if wanted.source is not None else "",
        f"about {wanted.object}" if wanted.object is not None else "",
    ]
    return printable(" ".join(["the dead letters", *filter(None, parts)])) if any(parts) else "all dead letters"


def _nothing(wanted: Wanted) -> str:
    return "there are no dead letters" if wanted.is_open else f"nothing matched {_words(wanted)}"


def _row(letter: DeadLine) -> tuple[str, ...]:
    detail = printable(letter.detail)
    return (
        str(letter.id),
        clock(letter.died_at),
        printable(letter.destination),
        printable(letter.reason),
        "-" if letter.status is None else str(letter.status),
        printable(letter.event_id),
        detail if len(detail) <= _DETAIL else detail[: _DETAIL - 1] + "…",
    )


def describe(letter: DeadLine) -> str:
    """Return a dead letter as lines of text."""
    fields = {
        "id": str(letter.id),
        "destination": letter.destination,
        "event id": letter.event_id,
        "reason": letter.reason,
        "status": "-" if letter.status is None else str(letter.status),
        "detail": letter.detail,
        "accepted": clock(letter.accepted_at),
        "died": clock(letter.died_at),
    }
    lines = [f"{name + ':':<13}{printable(value)}" for name, value in fields.items()]
    if letter.event_base64 is not None:
        return "\n".join([*lines, "event:       damaged, here as base64", letter.event_base64])
    event = msgspec.json.format(bytes(letter.event), indent=2).decode()
    return "\n".join([*lines, "event:", *map(printable, event.split("\n"))])
