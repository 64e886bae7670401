"""How errors are reported to clients: one table for HTTP, the stream and the dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from forwarder.errors import (
    BusyError,
    DiskFullError,
    ExpectationError,
    FieldsTooLargeError,
    ForbiddenError,
    ForwarderError,
    InvalidEventsError,
    MalformedError,
    NotConfiguredError,
    QueueFullError,
    RequestError,
    RequestLineTooLongError,
    ShuttingDownError,
    SilentClientError,
    StorageError,
    TooLargeError,
    TooManyGuessesError,
    TooManyWatchersError,
    UnauthorizedError,
    UnavailableError,
    UnknownDestinationError,
    UnknownLetterError,
    UnsupportedError,
)


class ProblemType(NamedTuple):
    """A kind of refusal; `name` is the last part of its RFC 9457 type `urn:forwarder:problem:…`."""

    status: int
    """The HTTP status."""
    name: str
    retry_after: int | None = None
    """Seconds after which trying again is worthwhile; None if that would not help."""


PROBLEMS: Final[Mapping[type[ForwarderError], ProblemType]] = {
    MalformedError: ProblemType(400, "malformed"),
    UnauthorizedError: ProblemType(401, "unauthorized"),
    ForbiddenError: ProblemType(403, "forbidden"),
    UnknownDestinationError: ProblemType(404, "unknown-destination"),
    UnknownLetterError: ProblemType(404, "unknown-letter"),
    SilentClientError: ProblemType(408, "timeout"),
    NotConfiguredError: ProblemType(409, "not-configured"),
    TooLargeError: ProblemType(413, "too-large"),
    RequestLineTooLongError: ProblemType(414, "uri-too-long"),
    UnsupportedError: ProblemType(415, "unsupported-media-type"),
    ExpectationError: ProblemType(417, "expectation-failed"),
    InvalidEventsError: ProblemType(422, "invalid-event"),
    TooManyGuessesError: ProblemType(429, "too-many-wrong-tokens", retry_after=6),
    FieldsTooLargeError: ProblemType(431, "header-fields-too-large"),
    UnavailableError: ProblemType(503, "unavailable", retry_after=1),
    BusyError: ProblemType(503, "busy", retry_after=1),
    TooManyWatchersError: ProblemType(503, "too-many-watchers", retry_after=10),
    QueueFullError: ProblemType(503, "queue-full", retry_after=5),
    ShuttingDownError: ProblemType(503, "shutting-down", retry_after=5),
    StorageError: ProblemType(503, "storage-failing", retry_after=10),
    DiskFullError: ProblemType(503, "disk-full", retry_after=10),
}

# The errors that are reported to clients; any other error is a bug.
TOLD: Final = (RequestError, UnavailableError)


def problem_type(error: type[RequestError | UnavailableError]) -> ProblemType:
    """Return how to report an error of this class: the entry of the class itself, or of its nearest base."""
    return next(PROBLEMS[base] for base in error.__mro__ if base in PROBLEMS)
