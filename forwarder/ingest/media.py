"""Tell from its content type whether a body is JSON or lines, and explain what is wrong if it is neither.

Many clients send a content type that nobody chose, or send lines and call them JSON. The people who
read the error should know what to change, so it says what the body looks like and what would be right.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum, auto

import msgspec
from aiohttp import hdrs, web

from forwarder.envelope import Checked, Envelope, Refused, sort_out
from forwarder.errors import MalformedError, UnsupportedError
from forwarder.model import has_more

_JSON = frozenset({"application/json", "text/json"})
# There is no registered media type for lines of JSON; these are the ones in use.
_LINES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    }
)
_SEND = "send application/json (an object or an array) or application/x-ndjson (an event a line)"
# Hints for the content types that clients send by default.
_HINTS = {
    "": "set the header Content-Type",
    "text/plain": "fetch and others say so of any string: set the header Content-Type",
    "application/x-www-form-urlencoded": "curl -d and others say so of any data: set the header Content-Type (curl -H)",
}

# The most events that are checked on the event loop. Most take 1 µs, but one that has to be read member by member
# takes 50.
_MANY_EVENTS = 500

_raw = msgspec.json.Decoder(msgspec.Raw)
# The position at which the decoder finds more text after the end of a value.
_goes_on = re.compile(r"trailing characters \(byte (\d+)\)").search


class Kind(Enum):
    """The two forms of a body."""

    JSON = auto()
    LINES = auto()


def kind_of(request: web.BaseRequest) -> Kind:
    """Return the kind that the content type says. Raises UnsupportedError, which says what to send."""
    # Nearly every client sends exactly this; spare it the parsing of parameters.
    if request.headers.get(hdrs.CONTENT_TYPE) == "application/json":
        return Kind.JSON
    name = request.content_type if request.headers.get(hdrs.CONTENT_TYPE) else ""
    if name not in _JSON | _LINES:
        what = f"the content type {name!r} is not known" if name else "the Content-Type is missing"
        raise UnsupportedError(f"{what}; {_SEND}", hint=_HINTS.get(name, ""))
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedError(f"the charset {request.charset!r} is not known", hint="JSON is UTF-8 (RFC 8259 §8.1)")
    return Kind.JSON if name in _JSON else Kind.LINES


def takes_long(kind: Kind, body: bytes) -> bool:
    """Return whether the body may have so many events that checking them here would hold up other requests."""
    return has_more(body, b"{" if kind is Kind.JSON else b"\n", _MANY_EVENTS)


def look(envelope: Envelope, kind: Kind, body: bytes, *, keeps_invalid: bool) -> tuple[Checked, list[Refused]]:
    """Check a body. If invalid events are to be kept, return them separately; else raise as `check` does."""
    if keeps_invalid:
        return sort_out(envelope, body, are_lines=kind is Kind.LINES)
    return check(envelope, kind, body), []


def check(envelope: Envelope, kind: Kind, body: bytes) -> Checked:
    """Check a body. Raises MalformedError, InvalidEventsError or TooLargeError."""
    try:
        return envelope.parse(body) if kind is Kind.JSON else envelope.parse_lines(body)
    except MalformedError as error:
        raise _explained(error, kind, body) from None


def _explained(error: MalformedError, kind: Kind, body: bytes) -> MalformedError:
    """Return an error that says what the body looks like, if that can be told; else the given one."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        words = "the body starts with the byte order mark of UTF-16"
        return MalformedError(words, hint="send UTF-8 without one (RFC 8259 §8.1)")
    if kind is Kind.LINES:
        return error
    return _told_as_several(body) or error


def _told_as_several(body: bytes) -> MalformedError | None:
    """Return an error that says so if the body is one object after another; else None."""
    try:
        _raw.decode(body)
    except msgspec.DecodeError as error:
        found = _goes_on(str(error))
    except RecursionError:
        return None
    else:
        return None
    if found is None or body.lstrip(b" \t\r\n")[:1] != b"{" or body[int(found[1]) - 1 :][:1] != b"{":
        return None
    first, _, _rest = body.lstrip(b"\r\n").partition(b"\n")
    try:
        _raw.decode(first)
    except (msgspec.DecodeError, RecursionError):
        return MalformedError(
            "the body is one object after the other, which is no JSON document",
            hint="put them into an array, or send application/x-ndjson with each on a line of its own",
        )
    return MalformedError(
        "the body is an event a line, which is no JSON document", hint="send it as application/x-ndjson"
    )
