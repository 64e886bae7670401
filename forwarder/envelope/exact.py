"""Read one line member by member: find its envelope, or say what is wrong with it.

When a key occurs twice, msgspec silently keeps the last value. So if the members that it found do not
add up to every byte of the text, the text is scanned for them one by one.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from forwarder.envelope.fields import ENVELOPE, RefusedError
from forwarder.envelope.text import MAX_DEPTH, TOO_DEEP, Member, is_deeper, json_words, members
from forwarder.errors import MalformedError

_raw = msgspec.json.Decoder(msgspec.Raw)
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_envelope(line: bytes) -> tuple[bytes, dict[str, Member]]:
    """Return an event without white space between tokens, and where in that text its envelope members are.

    Raises RefusedError if the line is not an event, or has a member of the envelope twice.
    """
    try:
        if not line.isascii():
            line.decode()
        if (found := _plain(line)) is None:
            line = msgspec.json.format(line, indent=-1)
            found = _plain(line)
        if is_deeper(line, MAX_DEPTH):
            raise RefusedError("", TOO_DEEP, MalformedError)
        return line, _exact(line) if found is None else found
    except UnicodeDecodeError as error:
        raise RefusedError("", f"not UTF-8: {error.reason} at byte {error.start}", MalformedError) from None
    except msgspec.ValidationError:
        raise _no_object(line) from None
    except msgspec.DecodeError as error:
        raise RefusedError("", json_words(line, error), MalformedError) from None
    except RecursionError:
        raise RefusedError("", TOO_DEEP, MalformedError) from None


def _no_object(line: bytes) -> RefusedError:
    """Return the error for a line that is not an object: it may be other JSON, or not be JSON at all."""
    try:
        _raw.decode(line)
    except msgspec.DecodeError as error:
        return RefusedError("", json_words(line, error), MalformedError)
    except RecursionError:
        return RefusedError("", TOO_DEEP, MalformedError)
    return RefusedError("", "an event must be a JSON object")


def _plain(line: bytes) -> dict[str, Member] | None:
    """Find the members by adding up their lengths; return None if they do not add up to the whole line.

    They do not if a key occurs twice, is written with escapes, or has white space around it.
    """
    found: dict[str, Member] = {}
    # Behind the opening brace. Each member then has two quotes and a colon before its value, and a comma or the
    # closing brace after it.
    at = 1
    for name, value in _parts.decode(line).items():
        start = at + len(name.encode()) + 3
        at = start + len(value) + 1
        if name in ENVELOPE:
            found[name] = Member(start, at - 1)
    return found if at == len(line) else None


def _exact(line: bytes) -> dict[str, Member]:
    """Find the members one by one."""
    found = [(name, member) for name, member in members(line) if name in ENVELOPE]
    for name, count in Counter(name for name, _ in found).items():
        if count > 1:
            raise RefusedError(name, f"stands {count} times in one event; keep one")
    return dict(found)
