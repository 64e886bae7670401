"""Everything that can go wrong and that somebody outside is told about.

The class says what is wrong, its docstring says what to do about it, and attributes carry the
data. Errors of a foreign library are turned into these where that library is imported, and
nowhere else. What a destination answers is not an error but an `Outcome` (see `model`).
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
    """One mistake in a configuration: where it stands, what is wrong, what would be right."""

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

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class FileError(ForwarderError):
    """A file that the configuration names cannot be read, or is not kept as a secret has to be.

    `problem` is what is wrong with `file`; `is_missing` tells a file that is not there from the rest.
    """

    exit_code = 78

    def __init__(self, file: object, problem: str, *, hint: str, is_missing: bool = False) -> None:
        super().__init__(f"{file}: {problem}", hint=hint)
        self.problem = problem
        self.is_missing = is_missing


class SigningKeyError(ForwarderError):
    """A key cannot be read or used. The message names the file, the hint the command that mends it."""

    exit_code = 78


class VerificationError(ForwarderError):
    """A JWS is not to be trusted, and why.

    `malformed` tells the JWS that is none, or is not ours to check, from the one that no known key has signed.
    """

    def __init__(self, message: str, *, malformed: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.malformed = malformed


# --- delivery ----------------------------------------------------------------------------------


class UnreachableError(ForwarderError):
    """No connection to a destination could be made; the message says where it ended, and why."""


# --- intake ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventError:
    """Why one event of a request was refused; `index` counts from 0, `field` may be empty."""

    index: int
    field: str
    message: str


class IntakeError(ForwarderError):
    """A request was refused as a whole; nothing of it was stored.

    `status` is the HTTP status, `problem` the last part of the RFC 9457 type
    `urn:forwarder:problem:…`.
    """

    status: ClassVar[int] = 400
    problem: ClassVar[str] = "malformed"


class MalformedError(IntakeError):
    """The body is not what its content type says: not JSON, not UTF-8, nested too deeply."""


class InvalidEventsError(IntakeError):
    """Events break the rules of the envelope or match no destination; `errors` names at most 20."""

    status = 422
    problem = "invalid-event"

    def __init__(self, errors: list[EventError]) -> None:
        first = errors[0]
        where = f"event {first.index}" + (f", {first.field}" if first.field else "")
        super().__init__(f"{where}: {first.message}")
        self.errors = errors


class TooLargeError(IntakeError):
    """The request or one event is over its limit. Send smaller requests, or raise the limit."""

    status = 413
    problem = "too-large"


class ForbiddenError(IntakeError):
    """The peer, the `Origin` or the `Host` is not allowed."""

    status = 403
    problem = "forbidden"


class UnauthorizedError(IntakeError):
    """The bearer token is missing or wrong."""

    status = 401
    problem = "unauthorized"


class UnsupportedError(IntakeError):
    """A content type or encoding that the intake does not know."""

    status = 415
    problem = "unsupported-media-type"


class ListenError(ForwarderError):
    """An address cannot be listened at: in use, not ours, or its folder cannot be written."""

    exit_code = 69


class ExposedError(ListenError):
    """Other machines can reach the address, and it asks for no token. Set one, or listen elsewhere."""

    exit_code = 78


# --- queue -------------------------------------------------------------------------------------


class UnavailableError(IntakeError):
    """The queue cannot take events just now. Nothing was stored: send the same request again later.

    `retry_after` is the whole number of seconds after which that is worth trying.
    """

    status = 503
    problem = "unavailable"
    retry_after: ClassVar[int] = 1


class QueueFullError(UnavailableError):
    """`queue.max_bytes` is reached. Mend the destination, or raise the limit."""

    problem = "queue-full"
    retry_after = 5


class ShareFullError(QueueFullError):
    """The share of one account, `destination`, is used up; there may be room for others."""

    def __init__(self, message: str, destination: str) -> None:
        super().__init__(message)
        self.destination = destination


class NoRoomForInvalidError(UnavailableError):
    """What is no event could not be kept: `ingest.invalid_max_bytes` is reached. Nothing was stored."""


class DiskFullError(UnavailableError):
    """The file system of the queue has no room left. Free space; no restart is needed."""

    exit_code = 74
    problem = "disk-full"
    retry_after = 10


class StorageError(UnavailableError):
    """The queue's storage fails. The message carries the system's own words."""

    exit_code = 74
    problem = "storage-failing"
    retry_after = 10


class DamagedError(StorageError):
    """The queue file cannot be read as one. It is set aside and rebuilt from what can be read."""


class ShuttingDownError(UnavailableError):
    """The daemon is stopping; send again once it is back."""

    problem = "shutting-down"
    retry_after = 5


class NewerQueueError(ForwarderError):
    """The queue's file was written by a newer version. It is left as it is; only that version can read it."""

    exit_code = 78


class QueueLockedError(ForwarderError):
    """Another instance holds the queue. Two daemons must never share one queue file."""

    exit_code = 75


# --- command line ------------------------------------------------------------------------------


class NotReachableError(ForwarderError):
    """The daemon, or an address, does not answer. Is it running, and is the address right?"""

    exit_code = 69


class NegativeAnswerError(ForwarderError):
    """The daemon answered, and said no; the message is what it said, `status` its HTTP status."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class InputOutputError(ForwarderError):
    """A file that a command reads or writes cannot be read or written."""

    exit_code = 74


class FaultScriptError(ForwarderError):
    """A script of faults for the receiver has an entry that is not known. The hint lists what is."""

    exit_code = 2
