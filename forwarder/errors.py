"""All errors that users or clients are told about.

The class says what is wrong, its docstring says what to do about it, and attributes carry the data. Errors
of a foreign library are turned into these in the module that imports the library, and nowhere else. The
answer of a destination is not an error but an `Outcome` (see `model`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ForwarderError(Exception):
    """The base of all errors; `hint` is the operator's next step, or an empty string."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


# --- configuration -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, what is wrong, and what would be right."""

    source: str
    """The file, or the environment variable, that holds the setting."""
    path: str
    """The dotted path of the setting, such as `destinations.main.url`; empty for the whole file."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.source}: {self.path}" if self.path else self.source
        return f"{where}: {self.problem}. {self.remedy}" if self.remedy else f"{where}: {self.problem}"


class ConfigError(ForwarderError):
    """The configuration cannot be used. Each problem names its place and its remedy."""

    exit_code = 78

    def __init__(self, problems: list[Problem], *, hint: str = "") -> None:
        super().__init__("\n".join(map(str, problems)), hint=hint)
        self.problems = problems


class FileError(ForwarderError):
    """A file named in the configuration cannot be read, or holds a secret that is not protected.

    `problem` says what is wrong with `file`; `is_missing` is true if it does not exist.
    """

    exit_code = 78

    def __init__(self, file: object, problem: str, *, hint: str, is_missing: bool = False) -> None:
        super().__init__(f"{file}: {problem}", hint=hint)
        self.problem = problem
        self.is_missing = is_missing


class SigningKeyError(ForwarderError):
    """A key cannot be read or used. The message names the file, the hint a command that solves the problem."""

    exit_code = 78


class VerificationError(ForwarderError):
    """A JWS cannot be trusted; the message says why.

    `malformed` is true if it is not a JWS, or not one that we can check, and false if no known key has signed it.
    """

    def __init__(self, message: str, *, malformed: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.malformed = malformed


# --- delivery ----------------------------------------------------------------------------------


class UnreachableError(ForwarderError):
    """No connection to a destination could be made; the message says how far it got, and why it failed."""


# --- intake ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventError:
    """Why one event of a request was refused; `index` counts from 0, `field` may be empty."""

    index: int
    field: str
    message: str


class RequestError(ForwarderError):
    """A request was refused for what it is, not for the state of the forwarder; none of its events were stored."""


class MalformedError(RequestError):
    """The body is not what its content type says: not JSON, not UTF-8, nested too deeply."""


class InvalidEventsError(RequestError):
    """Events break the rules of the envelope or match no destination; `errors` names at most 20."""

    def __init__(self, errors: list[EventError]) -> None:
        first = errors[0]
        where = f"event {first.index}" + (f", {first.field}" if first.field else "")
        super().__init__(f"{where}: {first.message}")
        self.errors = errors


class TooLargeError(RequestError):
    """The request or one event is over its limit. Send smaller requests, or raise the limit."""


class ForbiddenError(RequestError):
    """The peer, the `Origin` or the `Host` is not allowed."""


class UnauthorizedError(RequestError):
    """The bearer token is missing or wrong."""


class TooManyGuessesError(RequestError):
    """The peer has shown too many wrong tokens of late."""


class UnsupportedError(RequestError):
    """The intake does not know the content type or the encoding."""


class ExpectationError(RequestError):
    """The request has an expectation that this server does not know (RFC 9110 §10.1.1)."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"the expectation {expected!r} is not known", hint="send Expect: 100-continue or none")


class RequestLineTooLongError(RequestError):
    """The request line is too long (RFC 9110 §15.5.15)."""


class FieldsTooLargeError(RequestError):
    """A header field is too long, or there are too many (RFC 6585 §5)."""


class SilentClientError(RequestError):
    """The client has connected or begun a request, but sends nothing more."""


class UnknownDestinationError(RequestError):
    """No destination has this name; the message lists those that exist."""


class UnknownLetterError(RequestError):
    """There is no such dead letter; it may have been replayed or purged meanwhile."""


class NotConfiguredError(RequestError):
    """The destination was removed from the configuration. Its queue can be exported and purged."""


class ListenError(ForwarderError):
    """It is impossible to listen at an address: it is in use or not ours, or its folder cannot be written."""

    exit_code = 69


class ExposedError(ListenError):
    """Other machines can reach the address, and clients need no token. Set one, or listen elsewhere."""

    exit_code = 78


# --- queue -------------------------------------------------------------------------------------


class UnavailableError(ForwarderError):
    """Events cannot be accepted at the moment. Nothing was stored: send the same request again later."""


class BusyError(UnavailableError):
    """More is being received at the same time than there is memory for."""

    def __init__(self) -> None:
        super().__init__("too much is being received at once; send again in a moment")


class QueueFullError(UnavailableError):
    """`queue.max_bytes` is reached. Repair the destination, or raise the limit."""


class ShareFullError(QueueFullError):
    """The share of one account, `destination`, is used up; there may still be room for others."""

    def __init__(self, message: str, destination: str) -> None:
        super().__init__(message)
        self.destination = destination


class NoRoomForInvalidError(UnavailableError):
    """Invalid events could not be kept, because `ingest.invalid_max_bytes` is reached. Nothing was stored."""


class StorageError(UnavailableError):
    """The queue's storage is failing. The message is the system's own."""

    exit_code = 74


class DiskFullError(StorageError):
    """The file system of the queue is full. Free some space; no restart is needed."""


class DamagedError(StorageError):
    """The queue file is damaged. It is set aside and rebuilt from what can be read."""


class TooManyWatchersError(UnavailableError):
    """As many pages as may watch the daemon live do so already. Close some of them."""


class ShuttingDownError(UnavailableError):
    """The daemon is stopping; send again once it is back."""


class NewerQueueError(ForwarderError):
    """The queue's file was written by a newer version, and only that can read it. The file is left unchanged."""

    exit_code = 78


class QueueLockedError(ForwarderError):
    """Another instance holds the queue. Two daemons must never share a queue file."""

    exit_code = 75


# --- command line ------------------------------------------------------------------------------


class NotReachableError(ForwarderError):
    """The daemon, or an address, does not answer. Is it running, and is the address right?"""

    exit_code = 69


class NegativeAnswerError(ForwarderError):
    """The daemon refused; the message is its answer, `status` the HTTP status."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class InputOutputError(ForwarderError):
    """A file that a command reads or writes cannot be read or written."""

    exit_code = 74


class FaultScriptError(ForwarderError):
    """A script of faults for the receiver has an unknown entry. The hint lists the known ones."""

    exit_code = 2
