"""Turn bytes into checked, stamped, routed events.

What a producer wrote is forwarded as written: the same keys, the same numbers, the same order.
Only white space between tokens may go, and members may be put in front, or in place of a null: an
`eventId` where there is none, and configured defaults. The rules of the envelope are those of the
Event API: strings `eventSourceId` and `eventType`, an optional UUID `eventId`, both or neither of
`eventObjectType` and `eventObjectId`, strings `version` and `eventKeyId`, an object `data`, no
`eventReceived`; a field that is null counts as absent.

Two ways lead through this module; they accept the same events and give the same bytes, but for
white space inside `data`. The *quick* one looks at many lines at once and never says no: whatever
it cannot vouch for goes the *exact* way, line by line, which finds the words for what is wrong.

Pure: no I/O, no clock; the random bytes of new ids come from a function that is passed in.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from math import inf
from operator import attrgetter
from typing import Any

import msgspec

from forwarder.errors import EventError, InvalidEventsError, MalformedError, TooLargeError
from forwarder.event import (
    Fields,
    RefusedError,
    are_complete,
    are_plain,
    as_member,
    check_kinds,
    check_rules,
    compacted,
    json_words,
    new_ids,
    put_in,
    put_in_front,
    read_array,
    read_envelope,
)
from forwarder.model import Segment, count_lines, lines_within, nth_line

# No segment of one request is larger, unless a single event is: a batch reads whole segments, so
# this bounds the memory of a reader.
MAX_SEGMENT_BYTES = 512 * 1024
MAX_ERRORS = 20
# What is looked at together after the quick way did not vouch for the whole: bytes, then lines.
_PART_BYTES = 16 * 1024
_GROUP = 32
# Lines that are looked at closely in one go, so that a flood of bad ones does not hold up the others.
_MAX_CLOSE = 4096
# Routing results that are remembered, so that patterns are matched once for each kind of event.
_MAX_ROUTES = 4096

_PAIR = frozenset({"eventObjectType", "eventObjectId"})

_lines = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Checked:
    """Events that may be stored: `segments` has each of them once for every matching destination."""

    events: int
    data: bytes
    """All events in order, a line each."""
    segments: list[Segment]
    routes: list[tuple[str, ...]] = field(repr=False)
    """The destinations of each event."""

    @classmethod
    def of(cls, data: bytes, routes: list[tuple[str, ...]]) -> Checked:
        """Cut events into segments, one set for each destination."""
        if len(routes) == 1 or len(set(routes)) == 1:
            routed = {name: (len(routes), data) for name in routes[0]}
        else:
            lines: dict[str, list[bytes]] = {}
            for line, names in zip(data.split(b"\n"), routes, strict=False):
                for name in names:
                    lines.setdefault(name, []).append(line)
            routed = {name: (len(chosen), b"\n".join([*chosen, b""])) for name, chosen in lines.items()}
        segments = [
            # The stream cuts what it reads so that nothing has to be counted again.
            Segment(name, count if piece is chosen else count_lines(piece), piece)
            for name, (count, chosen) in routed.items()
            for piece in _pieces(chosen, MAX_SEGMENT_BYTES)
        ]
        return cls(len(routes), data, segments, routes)

    def split(self) -> tuple[Checked, Checked]:
        """Return the first half of the events and the second; there must be two at least."""
        half = self.events // 2
        cut = nth_line(self.data, half)
        return Checked.of(self.data[:cut], self.routes[:half]), Checked.of(self.data[cut:], self.routes[half:])

    def event_ids(self) -> list[str]:
        """Return the ids of the events, in order."""
        return [event.eventId or "" for event in _lines.decode_lines(self.data)]


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was refused; `index` counts from 0 within what was sifted."""

    index: int
    status: int
    detail: str


@dataclass(slots=True)
class _Sifted:
    """What became of some lines: those that may be stored, where each of them goes, and the others."""

    pieces: list[bytes] = field(default_factory=list)
    routes: list[tuple[str, ...]] = field(default_factory=list)
    refused: list[tuple[int, RefusedError]] = field(default_factory=list)
    lines: int = 0
    """How many were looked at."""
    size: int = 0
    """Bytes that were looked at."""

    def checked(self) -> Checked:
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        return Checked.of(data, self.routes)


class Envelope:
    """The rules for one configuration.

    `defaults` are envelope fields to fill in where absent; `routes` names each destination with
    the patterns that an event must match, field by field (empty: every event).
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
        self._max_event_bytes = max_event_bytes
        self._random_bytes = random_bytes
        self._all = tuple(routes)
        self._patterns = {
            name: [(key, re.compile("|".join(map(translate, globs))).match) for key, globs in match.items()]
            for name, match in routes.items()
        }
        # The fields that decide where an event goes, and what is remembered for their values.
        wanted = sorted({key for match in routes.values() for key in match})
        self._route_key: Callable[[Fields], Any] | None = attrgetter(*wanted) if wanted else None
        self._routes: dict[Any, tuple[str, ...]] = {}

    def parse(self, body: bytes) -> Checked:
        """Check a JSON object or an array of objects (RFC 8259).

        Raises MalformedError, InvalidEventsError or TooLargeError.
        """
        _check_text(body)
        body = body.strip(b" \t\r\n")
        try:
            # Events are lines from here on.
            if b"\n" in body or b"\r" in body:
                body = msgspec.json.format(body, indent=-1)
            if body[:1] == b"[":
                return self._quick_array(body) or self._accept(b"\n".join([*_raws.decode(body), b""]))
            _raw.decode(body)
        except msgspec.DecodeError as error:
            raise MalformedError(json_words(body, error)) from None
        except RecursionError:
            raise MalformedError("the JSON is nested too deeply") from None
        if body[:1] != b"{":
            raise MalformedError("the body is neither a JSON object nor an array of objects")
        return self._accept(body + b"\n")

    def parse_lines(self, body: bytes) -> Checked:
        """Check newline-delimited JSON; blank lines are skipped. Raises as `parse` does."""
        _check_text(body)
        return self._accept(body if body.endswith(b"\n") else body + b"\n")

    def sift(self, data: bytes) -> tuple[Checked, list[Refused], bytes]:
        """Check lines one by one, the last ended by a newline too: what may be stored, what was refused and why.

        Returns the lines that were not looked at, too, where a close look takes long.
        """
        sifted = self._sift(data, max_close=_MAX_CLOSE)
        refused = [Refused(index, refusal.error.status, refusal.words()) for index, refusal in sifted.refused]
        return sifted.checked(), refused, data[sifted.size :]

    def _accept(self, data: bytes) -> Checked:
        sifted = self._sift(data, max_refused=MAX_ERRORS)
        for index, refusal in sifted.refused:
            if refusal.error is not InvalidEventsError:
                raise refusal.error(f"event {index}: {refusal.message}")
        if sifted.refused:
            raise InvalidEventsError([EventError(i, r.field, r.message) for i, r in sifted.refused[:MAX_ERRORS]])
        return sifted.checked()

    def _sift(self, data: bytes, *, max_refused: float = inf, max_close: float = inf) -> _Sifted:
        """Look at all lines, or until so many were refused, or looked at closely."""
        sifted, close = _Sifted(), 0
        for piece in _pieces(data, MAX_SEGMENT_BYTES):
            if self._quick(piece, sifted):
                sifted.size += len(piece)
                continue
            for part in _pieces(piece, _PART_BYTES):
                if not self._quick(part, sifted):
                    close += self._closely(part, sifted)
                sifted.size += len(part)
                if len(sifted.refused) >= max_refused or close >= max_close:
                    return sifted
        return sifted

    def _closely(self, data: bytes, sifted: _Sifted) -> int:
        """Look at lines group by group, and one by one where something is wrong; return how many there are."""
        lines = [line for line in (line.strip(b" \t\r") for line in data.split(b"\n")) if line]
        for start in range(0, len(lines), _GROUP):
            group = lines[start : start + _GROUP]
            if not self._quick(b"\n".join([*group, b""]), sifted):
                self._each(group, sifted)
        return len(lines)

    # --- the quick way -------------------------------------------------------------------------

    def _quick(self, data: bytes, sifted: _Sifted) -> bool:
        """Take all of the lines, or none of them and return False."""
        # To the decoder a carriage return ends a line, too.
        if data[:1] != b"{" or data[-2:] != b"}\n" or b"\r" in data:
            return False
        if not data.isascii() and not _is_utf8(data):
            return False
        if not self._are_short(data):
            return False
        try:
            data = compacted(data)
            events = _lines.decode_lines(data)
            # To the decoder any white space ends an event.
            if count_lines(data) != len(events):
                return False
            data = self._stamp(data, events)
            return are_plain(data, events) and self._add(data, events, sifted)
        except (msgspec.DecodeError, RecursionError):
            return False

    def _quick_array(self, body: bytes) -> Checked | None:
        """Take all elements of an array without white space around them, or return None."""
        found = read_array(body) if len(body) <= MAX_SEGMENT_BYTES else None
        if found is None or not self._are_short(found[0]):
            return None
        data, events = found
        sifted = _Sifted()
        return sifted.checked() if self._add(self._stamp(data, events), events, sifted) else None

    def _are_short(self, lines: bytes) -> bool:
        return len(lines) <= self._max_event_bytes or lines_within(lines, self._max_event_bytes)

    def _add(self, data: bytes, events: list[Fields], sifted: _Sifted) -> bool:
        """Add plain lines, where all of them may be stored; else return False."""
        if not are_complete(events):
            return False
        routes = [self._all] * len(events) if self._route_key is None else list(map(self.route, events))
        if not all(routes):
            return False
        sifted.pieces.append(data)
        sifted.routes += routes
        sifted.lines += len(events)
        return True

    def _stamp(self, data: bytes, events: list[Fields]) -> bytes:
        """Put the missing members in front of each event; a null that is now there twice is not vouched for."""
        missing = [event.eventId for event in events].count(None)
        if not missing and not self._defaults:
            return data
        ids = iter(new_ids(self._random_bytes, missing))
        lines = data.split(b"\n")
        for index, event in enumerate(events):
            front = "".join(as_member(*filled) for filled in self._fill(event).items()) if self._defaults else ""
            if event.eventId is None:
                event.eventId = next(ids)
                front += f'"eventId":"{event.eventId}",'
            if front:
                lines[index] = put_in_front(lines[index], front)
        return b"\n".join(lines)

    def _fill(self, event: Fields) -> dict[str, str]:
        """Set the defaults that an event lacks, but never half of an object pair; return what was set."""
        filled = {name: value for name, value in self._defaults.items() if getattr(event, name) is None}
        if not filled.keys().isdisjoint(_PAIR):
            whole = all(name in filled or getattr(event, name) is not None for name in _PAIR)
            filled = {name: value for name, value in filled.items() if whole or name not in _PAIR}
        for name, value in filled.items():
            setattr(event, name, value)
        return filled

    # --- the exact way -------------------------------------------------------------------------

    def _each(self, lines: list[bytes], sifted: _Sifted) -> None:
        """Look at each line."""
        for line in lines:
            try:
                data, names = self._examine(line)
            except RefusedError as refusal:
                sifted.refused.append((sifted.lines, refusal))
            else:
                sifted.pieces.append(data + b"\n")
                sifted.routes.append(names)
            sifted.lines += 1

    def _examine(self, line: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Return the line as it is to be stored, and where it goes; raise RefusedError if it may not be."""
        if len(line) > self._max_event_bytes:
            raise RefusedError("", too_large_words(len(line), self._max_event_bytes), TooLargeError)
        text, envelope = read_envelope(line)
        check_kinds(text, envelope)
        event = _lines.decode(text)
        filled = self._fill(event)
        check_rules(event)
        if event.eventId is None:
            event.eventId = filled["eventId"] = new_ids(self._random_bytes, 1)[0]
        names = self.route(event)
        if not names:
            raise RefusedError("", "matches no destination; see destinations.*.match")
        if filled.keys().isdisjoint(envelope):
            return put_in_front(text, "".join(as_member(*member) for member in filled.items())), names
        return put_in(text, envelope, filled), names

    # --- routing -------------------------------------------------------------------------------

    def route(self, event: Fields) -> tuple[str, ...]:
        """Return the destinations that an event goes to."""
        if self._route_key is None:
            return self._all
        key = self._route_key(event)
        names = self._routes.get(key)
        if names is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            names = self._routes[key] = tuple(
                name
                for name, match in self._patterns.items()
                if all((value := getattr(event, key)) is not None and matches(value) for key, matches in match)
            )
        return names


def too_large_words(size: int, limit: int) -> str:
    """Return what to say of an event over the limit; both in bytes."""
    return f"the event has {size:,} bytes, the limit is {limit:,} (ingest.max_event_bytes)"


def _check_text(body: bytes) -> None:
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedError("the body starts with a byte order mark", hint="send UTF-8 without one (RFC 8259 §8.1)")
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def _is_utf8(data: bytes) -> bool:
    # The decoder skips values without looking at their encoding.
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pieces(data: bytes, limit: int) -> Iterable[bytes]:
    """Cut lines into pieces of at most `limit` bytes, or of a single line that is longer."""
    return (data,) if 0 < len(data) <= limit else _cut(data, limit)


def _cut(data: bytes, limit: int) -> Iterator[bytes]:
    start = 0
    while len(data) - start > limit:
        end = data.rfind(b"\n", start, start + limit) + 1 or data.index(b"\n", start) + 1
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]
