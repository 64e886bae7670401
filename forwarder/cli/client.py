"""Talk to the running daemon at its admin address.

Every command that reads or changes a queue goes through here, because only the daemon opens the queue.
The address is `--admin`, or else that of the daemon that runs with the configuration (see `whereabouts`).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import http.client
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click
import msgspec

from forwarder.admin.status import Status
from forwarder.cli import whereabouts
from forwarder.cli.connection import HttpConnection, request_headers, unreachable
from forwarder.cli.options import config_option, parsed
from forwarder.cli.text import printable
from forwarder.config import parse_address, token
from forwarder.errors import EventError, ForwarderError, NegativeAnswerError, NotReachableError
from forwarder.model import Address, State

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")

# Seconds to wait for an answer: a purge of millions of events is one transaction, and may take that long.
_PATIENCE = 300.0
# Seconds to wait for the answer to a probe, which takes no work.
_PROBE_SECONDS = 2.0
_READ_BYTES = 64 * 1024


class Problem(msgspec.Struct):
    """Problem details (RFC 9457) as the daemon sends them."""

    detail: str = ""
    type: str = ""
    hint: str = ""
    errors: list[EventError] = []
    problems: list[str] = []


def read_problem(body: bytes) -> Problem:
    """Return the problem that a body describes, or an empty one if it describes none."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Problem()


class AdminClient:
    """The admin API of one daemon; every method raises NotReachableError or NegativeAnswerError."""

    def __init__(self, address: Address, token: str | None = None, *, patience: float | None = None) -> None:
        self.address = address
        self._patience = patience or _PATIENCE
        self._headers = request_headers(token)

    def within(self, seconds: float) -> AdminClient:
        """Return a client of the same daemon that waits no longer than this for each piece of an answer."""
        other = copy.copy(self)
        other._patience = seconds
        return other

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the body of the answer."""
        with self._answer(method, path, body) as answer:
            return answer.read()

    def lines(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """Yield the lines of a streamed answer as they arrive, without their newlines."""
        rest = b""
        with self._answer("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path) as answer:
            while piece := answer.read1(_READ_BYTES):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines

    def status(self) -> Status:
        """Return the status of the daemon."""
        return self.decode(self.ask("GET", "/v1/status"), Status)

    def count(self, method: str, path: str, name: str, body: Any = None) -> int:
        """Return the number that the answer has under `name`."""
        return self.decode(self.ask(method, path, body), dict[str, int])[name]

    def destination(self, name: str | None, *, removed: bool = False) -> str:
        """Return `name`, or if it is None the only destination; exits with code 2 if there are several.

        `removed` says whether to count destinations that are no longer configured.
        """
        if name is not None:
            return name
        found = self.status().destinations
        hidden = {State.INVALID} if removed else {State.INVALID, State.REMOVED}
        names = sorted(at for at, state in found.items() if state.state not in hidden)
        if len(names) != 1:
            raise usage(f"name one with --destination: {', '.join(names)}" if names else "there is no destination")
        return names[0]

    @contextlib.contextmanager
    def _answer(self, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        connection = HttpConnection(self.address, timeout=self._patience)
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), self._headers)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise self._refusal(answer.status, answer.read())
            yield answer
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
                raise self._stranger("what answers is not HTTP") from None
            raise unreachable(self.address, error) from None
        finally:
            connection.close()

    def _refusal(self, status: int, body: bytes) -> ForwarderError:
        """Return the error for a negative answer."""
        problem = read_problem(body)
        if not problem.type.startswith("urn:forwarder:"):
            return self._stranger(f"it answered {status}")
        kind = problem.type.rpartition(":")[2]
        if kind == "not-found" and "/v1/events" in problem.detail:
            return self._stranger("it is where events come in")
        if kind == "unknown-destination":
            # The name came from the command line, so it is an error of usage.
            raise usage(printable(problem.detail))
        if status == 401:
            return NegativeAnswerError(
                f"{self.address}: {printable(problem.detail)}", status=status, hint="give the token: --token-file FILE"
            )
        # List the mistakes in a configuration one a line.
        words = "\n".join(map(printable, problem.problems or [problem.detail]))
        return NegativeAnswerError(words, status=status, hint=printable(problem.hint))

    def decode(self, body: bytes, kind: type[T]) -> T:
        """Return the answer, decoded as `kind`."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._stranger("its answer cannot be read") from None

    def _stranger(self, reason: str) -> NotReachableError:
        return NotReachableError(
            f"{self.address} is not the admin address of a forwarder: {reason}",
            hint="give the address under admin.listen of its configuration: --admin ADDRESS",
        )


def usage(message: str) -> click.UsageError:
    """Return a usage error (exit code 2) for the command that is running."""
    return click.UsageError(message, click.get_current_context(silent=True))


def destination_path(name: str, rest: str) -> str:
    """Return the path of a resource of a destination."""
    return f"/v1/destinations/{quote(name, safe='')}/{rest}"


def with_admin(command: Command) -> Command:
    """Add the options for finding the daemon; the command gets an `AdminClient` as its first argument."""

    @config_option
    @click.option(
        "--admin",
        callback=parsed(parse_address),
        metavar="ADDRESS",
        help="The daemon's admin address, unix:PATH or tcp:HOST:PORT.",
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A file with the bearer token of that address.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any, config_path: Path | None, admin: Address | None, token_file: Path | None, **kwargs: Any
    ) -> Any:
        return command(find_admin(config_path, admin, token_file), *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def find_admin(config_path: Path | None, address: Address | None, token_file: Path | None) -> AdminClient:
    """Return a client for the given address, or else the daemon's. Raises ConfigError if neither is known."""
    if address is None:
        way = whereabouts.find(config_path).admin
        if not way.addresses:
            raise usage("the configuration has no admin.listen; give --admin ADDRESS")
        address = way.addresses[0]
    else:
        way = whereabouts.find_if_possible(config_path).admin
    configured = way.token_file if address in way.addresses else None
    return AdminClient(address, find_token(token_file, configured))


def why_it_waits(admin: Address | None) -> str:
    """Return why the daemon takes no events, in its own words if it answers; asking needs no token."""
    if admin is None:
        return "the daemon takes no more events just now: `forwarder status` says why"
    try:
        AdminClient(admin, patience=_PROBE_SECONDS).ask("GET", "/readyz")
    except NegativeAnswerError as error:
        return f"the daemon takes no events: {error.message}"
    except NotReachableError as error:
        # Somebody may still listen: systemd holds the socket, or the daemon is there but stuck.
        return f"nothing is taken, and the daemon does not say why: {error.message}"
    return "the daemon takes no more events just now, as its queue is busy"


def find_token(given: Path | None, configured: Path | None) -> str | None:
    """Return the token from the given file, or else from the configured one. Raises ConfigError.

    A token is sent only to the address that it is meant for. So `configured` is None for an address that the
    configuration does not name.
    """
    file = given or configured
    return None if file is None else token(file)
