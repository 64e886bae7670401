"""One line, member by member: the envelope that it has, or the words for what is wrong with it.

msgspec takes a key that stands twice and forgets the first. So where the members that it found do not
account for every byte of the text, they are looked up one by one.
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
    """Find the envelope's members of one event; return it without white space between tokens, and them.

    Raises RefusedError where it is no event, or has a member of the envelope twice.
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
    """Tell JSON that is no object from what only begins like it."""
    try:
        _raw.decode(line)
    except msgspec.DecodeError as error:
        return RefusedError("", json_words(line, error), MalformedError)
    except RecursionError:
        return RefusedError("", TOO_DEEP, MalformedError)
    return RefusedError("", "an event must be a JSON object")


def _plain(line: bytes) -> dict[str, Member] | None:
    """Find the members by adding up the parts of the line; None where they do not make up all of it."""
    found: dict[str, Member] = {}
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
