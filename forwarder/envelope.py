"""Turn bytes into checked, stamped, routed events.

What a producer wrote is forwarded as written: the same keys, the same numbers, the same order.
Only white space between tokens may go, and members may be put in front: an `eventId` where there
is none, and configured defaults. The rules of the envelope are those of the Event API: strings
`eventSourceId` and `eventType`, an optional UUID `eventId`, both or neither of `eventObjectType`
and `eventObjectId`, strings `version` and `eventKeyId`, an object `data`, no `eventReceived`; a
field that is null counts as absent.

Two ways lead through this module and they accept the same events. The *quick* one looks at many
lines at once and never says no: whatever it cannot vouch for goes the *exact* way, line by line,
member by member, which finds the words for what is wrong.

Pure: no I/O, no clock; the random bytes of new ids come from a function that is passed in.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

import msgspec

from forwarder.errors import EventError, InvalidEventsError, MalformedError, TooLargeError
from forwarder.event import (
    ENVELOPE,
    Fields,
    RefusedError,
    check_member,
    check_rules,
    is_uuid,
    json_words,
    new_ids,
    put_in,
    read_members,
)
from forwarder.model import Segment

# No segment of one request is larger, unless a single event is: a batch reads whole segments, so
# this bounds the memory of a reader.
MAX_SEGMENT_BYTES = 512 * 1024
MAX_ERRORS = 20
# Lines that are looked at together again when the quick way does not vouch for a larger piece.
_GROUP = 32
# Bytes in which a habit of the producer, such as `eventTime` in each event, shows.
_SAMPLE = 4096
# Routing results that are remembered, so that patterns are matched once for each kind of event.
_MAX_ROUTES = 4096

_lines = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
# A key may be written with escapes, such as "event\u0049d": only letters matter here.
_escaped_letter = re.compile(rb"\\u00[4-7]")


@dataclass(frozen=True, slots=True)
class Checked:
    """Events that may be stored: `segments` has each of them once for every matching destination."""

    events: int
    data: bytes
    """All events in order, a line each."""
    segments: list[Segment]

    def event_ids(self) -> list[str]:
        """Return the ids of the events, in order."""
        return [event.eventId or "" for event in _lines.decode_lines(self.data)]


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was refused; `index` counts from 0 within what was sifted."""

    index: int
    status: int
    detail: str


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
        self._default_members = [
            (field, f"{json.dumps(field)}:{json.dumps(value)},") for field, value in self._defaults.items()
        ]
        self._max_event_bytes = max_event_bytes
        self._random_bytes = random_bytes
        self._all = tuple(routes)
        self._patterns = {
            name: [(field, re.compile("|".join(map(translate, globs))).match) for field, globs in match.items()]
            for name, match in routes.items()
        }
        self._route_fields = tuple({field for match in routes.values() for field in match})
        self._routes: dict[tuple[str | None, ...], tuple[str, ...]] = {}

    def parse(self, body: bytes) -> Checked:
        """Check a JSON object or an array of objects (RFC 8259).

        Raises MalformedError, InvalidEventsError or TooLargeError.
        """
        _check_text(body)
        body = body.strip(b" \t\r\n")
        try:
            if body[:1] == b"[":
                if b"\n" in body or b"\r" in body:
                    body = msgspec.json.format(body, indent=-1)
                raws: Sequence[bytes | msgspec.Raw] = _raws.decode(body)
            elif body[:1] == b"{":
                _raw.decode(body)
                raws = [msgspec.json.format(body, indent=-1) if b"\n" in body or b"\r" in body else body]
            else:
                raise MalformedError("the body is neither a JSON object nor an array of objects")
        except msgspec.DecodeError as error:
            raise MalformedError(json_words(body, error)) from None
        except RecursionError:
            raise MalformedError("the JSON is nested too deeply") from None
        return self._accept(b"\n".join([*raws, b""]))

    def parse_lines(self, body: bytes) -> Checked:
        """Check newline-delimited JSON; blank lines are skipped. Raises as `parse` does."""
        _check_text(body)
        return self._accept(canonical_lines(body))

    def sift(self, data: bytes) -> tuple[Checked, list[Refused]]:
        """Check canonical lines one by one: what may be stored, and what was refused and why."""
        quick = self._quick(data)
        if quick is not None:
            return self._build(*quick), []
        kept, refusals = self._judge(data)
        refused = [Refused(index, refusal.error.status, refusal.words()) for index, refusal in refusals]
        return self._build(*_joined(kept)), refused

    def _accept(self, data: bytes) -> Checked:
        quick = self._quick(data)
        if quick is not None:
            return self._build(*quick)
        kept, refusals = self._judge(data)
        for index, refusal in refusals:
            if refusal.error is not InvalidEventsError:
                raise refusal.error(f"event {index}: {refusal.message}")
        if refusals:
            raise InvalidEventsError([EventError(i, r.field, r.message) for i, r in refusals[:MAX_ERRORS]])
        return self._build(*_joined(kept))

    # --- the quick way -------------------------------------------------------------------------

    def _quick(self, data: bytes) -> tuple[bytes, list[Fields]] | None:
        """Return what is to be stored of `data` if all of it may be, else None."""
        count = data.count(b"\n")
        if count == 0:
            return b"", []
        # Each line is one object: a newline between a closing and an opening brace cannot stand
        # inside a value, and the decoder below counts as many values as there are lines.
        if data[:1] != b"{" or data[-2:] != b"}\n" or data.count(b"}\n{") != count - 1:
            return None
        if not data.isascii() and not _is_utf8(data):
            return None
        if len(data) > self._max_event_bytes and not _lines_within(data, self._max_event_bytes):
            return None
        try:
            events = _lines.decode_lines(data)
            if any(event.eventId is None for event in events) or self._defaults:
                data = self._stamp(data, events)
                events = _lines.decode_lines(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        if len(events) != count or not _vouch(data, events):
            return None
        if self._route_fields and not all(map(self.route, events)):
            return None
        return data, events

    def _stamp(self, data: bytes, events: list[Fields]) -> bytes:
        """Put the missing members in front of each event.

        Where that goes wrong (an empty object, a null that is now there twice, half a pair), the
        result is not vouched for.
        """
        ids = iter(new_ids(self._random_bytes, sum(event.eventId is None for event in events)))
        lines = data.split(b"\n")
        for index, event in enumerate(events):
            front = "".join(text for field, text in self._default_members if getattr(event, field) is None)
            if event.eventId is None:
                front += f'"eventId":"{next(ids)}",'
            if front:
                lines[index] = b"{" + front.encode() + lines[index][1:]
        return b"\n".join(lines)

    # --- the exact way -------------------------------------------------------------------------

    def _judge(self, data: bytes) -> tuple[list[tuple[bytes, Fields]], list[tuple[int, RefusedError]]]:
        """Look at each line: those that may be stored, filled in, and those that may not."""
        kept: list[tuple[bytes, Fields]] = []
        refused: list[tuple[int, RefusedError]] = []
        lines = data.split(b"\n")[:-1]
        for start in range(0, len(lines), _GROUP):
            group = lines[start : start + _GROUP]
            quick = self._quick(b"\n".join([*group, b""]))
            if quick is not None:
                kept.extend(zip(quick[0].split(b"\n"), quick[1], strict=False))
                continue
            for index, line in enumerate(group, start):
                try:
                    kept.append(self._examine(line))
                except RefusedError as refusal:
                    refused.append((index, refusal))
        return kept, refused

    def _examine(self, line: bytes) -> tuple[bytes, Fields]:
        """Return the line as it is to be stored, and its fields; raise RefusedError if it may not be."""
        if len(line) > self._max_event_bytes:
            raise RefusedError("", too_large_words(len(line), self._max_event_bytes), TooLargeError)
        text, found = read_members(line)
        envelope = {member.name: member for member in found if member.name in ENVELOPE}
        for name, count in Counter(member.name for member in found).items():
            if count > 1 and name in ENVELOPE:
                raise RefusedError(name, f"stands {count} times in one event; keep one")
        for member in envelope.values():
            check_member(member)
        present = {name: member.value for name, member in envelope.items() if member.value is not None}
        filled = self._fill(present.keys())
        fields = msgspec.convert({**present, **filled}, Fields)
        check_rules(fields)
        if not self.route(fields):
            raise RefusedError("", "matches no destination; see destinations.*.match")
        return put_in(text, envelope, filled).encode(), fields

    def _fill(self, present: Collection[str]) -> dict[str, str]:
        """Return the members to put in: a new id, and defaults, but never half of an object pair."""
        filled = {name: value for name, value in self._defaults.items() if name not in present}
        pair = {"eventObjectType", "eventObjectId"}
        if len(pair & {*present, *filled}) == 1:
            filled = {name: value for name, value in filled.items() if name not in pair}
        if "eventId" not in present:
            filled["eventId"] = new_ids(self._random_bytes, 1)[0]
        return filled

    # --- routing -------------------------------------------------------------------------------

    def _build(self, data: bytes, events: list[Fields]) -> Checked:
        """Cut the events into segments, one set for each destination."""
        if not self._route_fields:
            pieces = list(_pieces(data))
            segments = [Segment(name, piece.count(b"\n"), piece) for name in self._all for piece in pieces]
            return Checked(len(events), data, segments)
        lines: dict[str, list[bytes]] = {}
        for line, event in zip(data.split(b"\n"), events, strict=False):
            for name in self.route(event):
                lines.setdefault(name, []).append(line)
        segments = [
            Segment(name, piece.count(b"\n"), piece)
            for name, routed in lines.items()
            for piece in _pieces(b"\n".join([*routed, b""]))
        ]
        return Checked(len(events), data, segments)

    def route(self, event: Fields) -> tuple[str, ...]:
        """Return the destinations that an event goes to."""
        if not self._route_fields:
            return self._all
        key = tuple(getattr(event, field) for field in self._route_fields)
        names = self._routes.get(key)
        if names is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            names = self._routes[key] = tuple(
                name
                for name, match in self._patterns.items()
                if all((value := getattr(event, field)) is not None and matches(value) for field, matches in match)
            )
        return names


def canonical_lines(data: bytes) -> bytes:
    """Return the lines without blank ones and outer white space, each ended by a newline."""
    if data[-1:] != b"\n":
        data += b"\n"
    if data[:1] == b"{" and data[-2:] == b"}\n" and data.count(b"}\n{") + 1 == data.count(b"\n"):
        return data
    stripped = (line.strip(b" \t\r") for line in data.split(b"\n"))
    return b"".join(line + b"\n" for line in stripped if line)


def too_large_words(size: int, limit: int) -> str:
    """Return what to say of an event over the limit; both in bytes."""
    return f"the event has {size:,} bytes, the limit is {limit:,} (ingest.max_event_bytes)"


def _check_text(body: bytes) -> None:
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedError("the body starts with a byte order mark", hint="send UTF-8 without one (RFC 8259 §8.1)")
    try:
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


def _lines_within(data: bytes, limit: int) -> bool:
    """Say whether no line is longer than `limit` bytes, without looking at each."""
    start = 0
    while len(data) - start > limit:
        start = data.rfind(b"\n", start, start + limit + 1) + 1
        if start == 0:
            return False
    return True


def _vouch(data: bytes, events: list[Fields]) -> bool:
    """Say whether every event is complete and valid, and has no duplicate envelope key."""
    named = versions = bodies = 0
    for event in events:
        if not event.eventSourceId or not event.eventType or event.eventId is None or not is_uuid(event.eventId):
            return False
        named += 3
        if event.eventObjectType is not None:
            named += 2
            if event.eventObjectId is None:
                return False
        elif event.eventObjectId is not None:
            return False
        if event.eventKeyId is not None:
            named += 1
        if event.version is not None:
            versions += 1
        if event.data is not None:
            bodies += 1
    # Where the text holds each key as often as the decoder found it, no key stands twice. The same
    # words elsewhere in the text make the count too high, which only sends us the exact way.
    elsewhere = data.count(b'"eventTime"') if b'"eventTime"' in data[:_SAMPLE] else 0
    return (
        data.count(b'"event') - elsewhere == named
        and data.count(b'"data"') == bodies
        and data.count(b'"version"') == versions
        and (b"\\" not in data or _escaped_letter.search(data) is None)
    )


def _joined(kept: list[tuple[bytes, Fields]]) -> tuple[bytes, list[Fields]]:
    return b"".join(line + b"\n" for line, _ in kept), [fields for _, fields in kept]


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut lines into pieces of at most MAX_SEGMENT_BYTES, or of a single line that is longer."""
    start = 0
    while len(data) - start > MAX_SEGMENT_BYTES:
        end = data.rfind(b"\n", start, start + MAX_SEGMENT_BYTES) + 1 or data.index(b"\n", start) + 1
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:] if start else data
