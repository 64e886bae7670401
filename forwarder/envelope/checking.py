"""Check every line: many at once if possible, one by one if not; then add ids and defaults, and route.

There are two paths. They accept the same events and produce the same bytes, except for white space
inside `data`. The *quick* path checks many lines at once and never refuses any: lines that it cannot
vouch for take the *exact* path, one by one, which can say what is wrong with each.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

import msgspec

from forwarder.envelope.checked import MAX_SEGMENT_BYTES, Checked, Refused, joined, pieces
from forwarder.envelope.exact import read_envelope
from forwarder.envelope.fields import (
    Fields,
    RefusedError,
    check_kinds,
    too_large_words,
)
from forwarder.envelope.ids import new_ids
from forwarder.envelope.plain import Plain, read_array, read_lines
from forwarder.envelope.routing import Routing
from forwarder.envelope.rules import NAMES, REST, are_bodies, are_kept, refuse
from forwarder.envelope.text import (
    BYTE_ORDER_MARK,
    as_member,
    elements,
    is_utf8,
    json_words,
    put_in,
    put_in_front,
    split_array,
)
from forwarder.errors import EventError, InvalidEventsError, MalformedError, RequestError, TooLargeError
from forwarder.model import has_more, lines_within, nth_line, whole_lines
from forwarder.problems import problem_type

MAX_ERRORS = 20
# One bad line makes the quick path give up on all the lines it was given. So it is tried again on smaller
# portions, first of this many bytes, then of this many lines, before lines are examined one by one.
_PART_BYTES = 16 * 1024
_GROUP = 32
# Lines of a stream that are examined closely in one go, so that a flood of bad lines does not hold up other clients.
_MAX_CLOSE = 512
# Lines of a stream that are checked in one go. Half a megabyte of `{}`, which are events where defaults supply the
# rest, has far more lines than that, and must not hold up other clients either.
_MAX_LINES = 16 * 1024
# Events of one request that are refused individually; what is wrong with each of them is held in memory until the end.
_MOST_REFUSED = 10_000

_PAIR = frozenset({"eventObjectType", "eventObjectId"})

_fields = msgspec.json.Decoder(Fields)
_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What is wrong with a line; the exception that reported it is not kept, as its traceback holds much more."""

    index: int
    line: bytes
    field: str
    message: str
    error: type[RequestError]

    def as_refused(self) -> Refused:
        detail = f"{self.field}: {self.message}" if self.field else self.message
        return Refused(self.index, problem_type(self.error).status, detail, self.line)


@dataclass(slots=True)
class _Sifted:
    """The result for some lines: the events to store, their destinations, and the refusals."""

    pieces: list[bytes] = field(default_factory=list)
    routes: list[tuple[str, ...]] = field(default_factory=list)
    refused: list[_Refusal] = field(default_factory=list)
    size: int = 0
    """How many bytes were checked."""
    close: int = 0
    """How many lines were examined closely."""
    max_refused: float = inf
    max_close: float = inf

    @property
    def is_enough(self) -> bool:
        """Whether to stop here, because the limit of refusals or of close looks is reached."""
        return len(self.refused) >= self.max_refused or self.close >= self.max_close

    def checked(self) -> Checked:
        return Checked.of(b"".join(self.pieces), self.routes)

    def refusals(self) -> list[Refused]:
        return [refusal.as_refused() for refusal in self.refused]


class Envelope:
    """The rules for one configuration.

    `defaults` are envelope fields to fill in where an event lacks them; `routes` maps each destination
    to the patterns that an event must match, field by field (empty: every event).
    """

    def __init__(
        self,
        *,
        routes: Mapping[str, Mapping[str, Sequence[str]]],
        defaults: Mapping[str, str] | None = None,
        max_event_bytes: int = 256 * 1024,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._defaults = dict(defaults or {})
        self.max_event_bytes = max_event_bytes
        self._random_bytes = random_bytes
        self._routing = Routing(routes)

    def parse(self, body: bytes) -> Checked:
        """Check a JSON object or an array of objects (RFC 8259).

        Raises MalformedError, InvalidEventsError or TooLargeError.
        """
        _check_text(body)
        body = _stripped(body)
        try:
            # From here on each event is one line, so line breaks within the body have to go.
            if b"\n" in body or b"\r" in body:
                body = msgspec.json.format(body, indent=-1)
            if body[:1] == b"[":
                return self._quick_array(body) or self._accept(joined(split_array(body)))
            _raw.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedError(json_words(body, error)) from None
        _check_object(body)
        return self._accept([body + b"\n"])

    def parse_lines(self, body: bytes) -> Checked:
        """Check newline-delimited JSON, skipping blank lines. Raises as `parse` does."""
        _check_text(body)
        return self._accept(pieces(_ended(body), MAX_SEGMENT_BYTES))

    def glance(self, body: bytes, *, are_lines: bool) -> Checked | None:
        """Return the events of a body if the quick path accepts all of them; None leaves the question open.

        This takes about 1 µs an event, while a close look takes up to 50.
        """
        if len(body) > MAX_SEGMENT_BYTES:
            return None
        if not are_lines:
            if body[:1] == b"[":
                return self._quick_array(body) if _is_flat_text(body) else None
            # An object without a newline is a single line. One with newlines would be read as several.
            if b"\n" in body:
                return None
        sifted = _Sifted()
        return sifted.checked() if self._quick(_ended(body), sifted) else None

    def examine(self, body: bytes) -> tuple[Checked, list[Refused]]:
        """Check a JSON object or an array of objects event by event; return the good events and the refusals.

        Raises MalformedError if the body as a whole is not JSON, as its events cannot be told apart then, and
        what `parse` raises if so many events are refused that this cannot be a body of events.
        """
        with suppress(RequestError):
            return self.parse(body), []
        body = _stripped(body)
        try:
            found = elements(body)
            if body[:1] != b"[":
                _check_object(body)
            # `elements` is lazy, so a body full of bad events is given up before all of them are read.
            return self._each_of(joined(found))
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedError(json_words(body, error)) from None

    def examine_lines(self, body: bytes) -> tuple[Checked, list[Refused]]:
        """Check newline-delimited JSON line by line, as `examine` does."""
        return self._each_of(pieces(_ended(body), MAX_SEGMENT_BYTES))

    def _each_of(self, lines: Iterable[bytes]) -> tuple[Checked, list[Refused]]:
        sifted = self._sift(lines, _Sifted(max_refused=_MOST_REFUSED))
        if len(sifted.refused) >= _MOST_REFUSED:
            raise _refused_all(sifted.refused)
        return sifted.checked(), sifted.refusals()

    def sift(self, data: bytes) -> tuple[Checked, list[Refused], bytes]:
        """Check lines, each ended by a newline; return the good events, the refusals, and the lines not checked yet.

        Some lines are left unchecked if there are very many, or if many of them need a close look, so that one
        call never takes long.
        """
        few = data[: nth_line(data, _MAX_LINES)] if has_more(data, b"\n", _MAX_LINES) else data
        sifted = self._sift(pieces(few, MAX_SEGMENT_BYTES), _Sifted(max_close=_MAX_CLOSE))
        return sifted.checked(), sifted.refusals(), data[sifted.size :]

    def _accept(self, lines: Iterable[bytes]) -> Checked:
        sifted = self._sift(lines, _Sifted(max_refused=MAX_ERRORS))
        if sifted.refused:
            raise _refused_all(sifted.refused)
        return sifted.checked()

    def _sift(self, lines: Iterable[bytes], sifted: _Sifted) -> _Sifted:
        """Check lines piece by piece, until all are checked or a limit of `sifted` is reached."""
        for piece in lines:
            if self._quick(piece, sifted):
                sifted.size += len(piece)
                continue
            # Narrow down where the trouble is. If the piece is a single part, it has just been tried.
            for part in pieces(piece, _PART_BYTES):
                if part is not piece and self._quick(part, sifted):
                    sifted.size += len(part)
                else:
                    self._closely(part, sifted)
                if sifted.is_enough:
                    return sifted
        return sifted

    def _closely(self, data: bytes, sifted: _Sifted) -> None:
        """Check lines in groups, and one by one in each group where something is wrong."""
        lines = whole_lines(data)
        for start in range(0, len(lines), _GROUP):
            group = lines[start : start + _GROUP]
            # Blank lines and white space around lines are allowed, but the quick path accepts neither, so remove them.
            found = [line for line in (line.strip(b" \t\r\n") for line in group) if line]
            if found and not self._quick(b"\n".join([*found, b""]), sifted):
                self._each(found, sifted)
            sifted.size += sum(map(len, group))
            sifted.close += len(group)
            if sifted.is_enough:
                return

    # --- the quick path ------------------------------------------------------------------------

    def _quick(self, data: bytes, sifted: _Sifted) -> bool:
        """Accept all of the lines and return True, or accept none and return False."""
        # The decoder takes a carriage return for the end of a line; we do not.
        if data[:1] != b"{" or data[-2:] != b"}\n" or b"\r" in data:
            return False
        if not data.isascii() and not is_utf8(data):
            return False
        if not self._are_short(data):
            return False
        try:
            return self._add(read_lines(data), sifted)
        except (msgspec.DecodeError, RecursionError):
            return False

    def _quick_array(self, body: bytes) -> Checked | None:
        """Accept all elements of an array that has no white space around them, or return None."""
        plain = read_array(body) if len(body) <= MAX_SEGMENT_BYTES else None
        if plain is None or not self._are_short(plain.data):
            return None
        sifted = _Sifted()
        return sifted.checked() if self._add(plain, sifted) else None

    def _are_short(self, lines: bytes) -> bool:
        return len(lines) <= self.max_event_bytes or lines_within(lines, self.max_event_bytes)

    def _add(self, plain: Plain | None, sifted: _Sifted) -> bool:
        """Add the events if all of them may be stored; else add none and return False."""
        # Making ids is most of the work, and in vain if the events are refused. So the rules that need no id are
        # applied first, unless defaults may still supply what these rules require.
        if plain is None or not (self._defaults or are_kept(NAMES, plain.events)):
            return False
        data = self._stamp(plain)
        if data is None or (self._defaults and not are_kept(NAMES, plain.events)):
            return False
        if not are_kept(REST, plain.events) or not are_bodies(plain.events):
            return False
        routes = self._routing.of(plain.events)
        if not all(routes):
            return False
        sifted.pieces.append(data)
        sifted.routes += routes
        return True

    def _stamp(self, plain: Plain) -> bytes | None:
        """Put the missing members in front of each event; return None if one is present as a null.

        A null has to be replaced where it stands, which only the exact path can do.
        """
        missing = [event.eventId for event in plain.events].count(None)
        if not missing and not self._defaults:
            return plain.data
        if plain.has_null({"eventId", *self._defaults}):
            return None
        ids = iter(new_ids(self._random_bytes, missing))
        lines = plain.data.split(b"\n")
        for index, event in enumerate(plain.events):
            front = "".join(as_member(*filled) for filled in self._fill(event).items()) if self._defaults else ""
            if event.eventId is None:
                event.eventId = next(ids)
                front += f'"eventId":"{event.eventId}",'
            if front:
                lines[index] = put_in_front(lines[index], front)
        return b"\n".join(lines)

    def _fill(self, event: Fields) -> dict[str, str]:
        """Set the defaults that an event lacks, and return them.

        The type and the id of an object are set only where the event then has both: a default must not turn
        an event that names no object into one with half a name.
        """
        filled = {name: value for name, value in self._defaults.items() if getattr(event, name) is None}
        if not filled.keys().isdisjoint(_PAIR):
            whole = all(name in filled or getattr(event, name) is not None for name in _PAIR)
            filled = {name: value for name, value in filled.items() if whole or name not in _PAIR}
        for name, value in filled.items():
            setattr(event, name, value)
        return filled

    # --- the exact path ------------------------------------------------------------------------

    def _each(self, lines: list[bytes], sifted: _Sifted) -> None:
        """Examine each line by itself."""
        for line in lines:
            try:
                data, names = self._examine(line)
            except RefusedError as refusal:
                # Each line before it is either stored or refused.
                index = len(sifted.routes) + len(sifted.refused)
                sifted.refused.append(_Refusal(index, line, refusal.field, refusal.message, refusal.error))
            else:
                sifted.pieces.append(data + b"\n")
                sifted.routes.append(names)

    def _examine(self, line: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Return the line as it is to be stored, and its destinations. Raises RefusedError."""
        if len(line) > self.max_event_bytes:
            raise RefusedError("", too_large_words(len(line), self.max_event_bytes), TooLargeError)
        text, envelope = read_envelope(line)
        # The decoder's own error for a wrong type would not say what we want to tell the producer, so types come first.
        check_kinds(text, envelope)
        event = _fields.decode(text)
        filled = self._fill(event)
        refuse(NAMES, event)
        if event.eventId is None:
            event.eventId = filled["eventId"] = new_ids(self._random_bytes, 1)[0]
        refuse(REST, event)
        names = self._routing.of_one(event)
        if not names:
            raise RefusedError("", "matches no destination; see destinations.*.match")
        # If the event has none of these members, not even as a null, they all go in front.
        if filled.keys().isdisjoint(envelope):
            return put_in_front(text, "".join(as_member(*member) for member in filled.items())), names
        return put_in(text, envelope, filled), names


def _refused_all(refused: list[_Refusal]) -> RequestError:
    """Return the error for the whole request: an event that is not JSON, or too large, takes precedence."""
    for found in refused:
        if found.error is not InvalidEventsError:
            return found.error(f"event {found.index}: {found.message}")
    return InvalidEventsError([EventError(found.index, found.field, found.message) for found in refused[:MAX_ERRORS]])


def _is_flat_text(body: bytes) -> bool:
    return b"\n" not in body and b"\r" not in body and (body.isascii() or is_utf8(body))


def _stripped(body: bytes) -> bytes:
    """Return a JSON body without the white space around it. Raises MalformedError if nothing is left."""
    body = body.strip(b" \t\r\n")
    if not body:
        raise MalformedError(
            "the body is empty", hint="send a JSON object, an array of objects, or newline-delimited JSON"
        )
    return body


def _check_object(body: bytes) -> None:
    if body[:1] != b"{":
        raise MalformedError("the body is neither a JSON object nor an array of objects")


def _ended(lines: bytes) -> bytes:
    return lines if lines.endswith(b"\n") else lines + b"\n"


def _check_text(body: bytes) -> None:
    """Raise MalformedError if the body is not UTF-8, or begins with a byte order mark."""
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedError(f"the body is not JSON: {BYTE_ORDER_MARK}")
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
