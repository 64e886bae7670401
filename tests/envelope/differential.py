"""Events against a slow second opinion, with what stands between and around them moved, dropped and doubled.

    python -m tests.envelope.differential --cases 2000000 --seed 1

takes about 20 minutes on one core. Each case is made from the seed and its number alone, so `--first N --cases 1`
repeats one.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from forwarder.envelope import Checked, Envelope, Excerpt
from forwarder.ingest.framing import Framer
from tests.envelope.judging import (
    DEFAULTS,
    ROUTES,
    check_elements,
    check_request,
    check_stream,
    check_verdicts,
    envelope,
)
from tests.events import UUID
from tests.reference import Rules

_MEMBERS: Final = [
    *[b'"eventId":"%b"' % UUID.encode(), b'"eventId":null', b'"eventObjectType":"user"', b'"eventObjectId":"7"'],
    *[b'"version":"1"', b'"version":null', b'"eventKeyId":"k"', b'"eventReceived":null', b'"eventReceived":1'],
    *[b'"data":{}', b'"data":{"a":{}}', b'"data":{"a":[{},{}]}', b'"data":[{}]', b'"data":null', b'"data":{"n":-0.10}'],
    *[b'"x":{}', b'"x":[{},{"y":1}]', b'"x":"}\\n{"', b'"x":"},{"', b'"x":[]', b'"x":1e400', b'"x":null', b'"":{}'],
    *['"é":"日本"'.encode(), b'"x":"\\u007d\\n{"', b'"x":"\\ud83d\\ude00"', b'"x":"\\ud800"', b'"\\u0065ventId":null'],
    *[b'"eventType":"t"', b'"eventSourceId":"s"', b'"version":"1.8.0"', b'"data":{"eventId":"x","data":{}}'],
]
_HEADS: Final = [
    *[[b'"eventSourceId":"app-1"', b'"eventType":"t"']] * 8,
    *[[b'"eventType":"t"', b'"eventSourceId":"s"'], [b'"eventType":"t"'], [b'"eventSourceId":"m"'], []],
]
_ENDS: Final = [*[b"\n"] * 8, b"\r\n", b"\n\n", b" \n", b"\n ", b" ", b"", b",", b"\r", b"\t\n"]
# What separates and encloses: newlines most of all.
_MARKS: Final = b'\n\n\n\r \t,,::{}{}[]"\\'
_CUTS: Final = frozenset(b'\n\r \t,:{}[]"\\')


def _event(chance: random.Random) -> bytes:
    """Write an event, mostly a good one, with or without white space between its tokens."""
    members = chance.choice(_HEADS) + chance.choices(_MEMBERS, k=chance.choice([0, 0, 1, 1, 2, 3]))
    if chance.random() < 0.3:
        members = chance.sample(members, len(members))
    comma, colon = chance.choice([(b",", b":")] * 4 + [(b", ", b": "), (b" ,", b":\t")])
    if colon != b":":
        members = [member.replace(b'":', b'"' + colon, 1) for member in members]
    return b"{" + comma.join(members) + b"}"


def _spoiled(chance: random.Random, text: bytes) -> bytes:
    """Move, drop, double, swap or put in something that separates."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3, 4])):
        places = [at for at, byte in enumerate(text) if byte in _CUTS]
        if not places:
            return text
        at, to = chance.choice(places), chance.choice(places)
        mark = text[at : at + 1]
        match chance.randrange(8):
            case 0:
                text = text[:at] + text[at + 1 :]
            case 1:
                text = text[:at] + mark + text[at:]
            case 2:
                rest = text[:at] + text[at + 1 :]
                text = rest[:to] + mark + rest[to:]
            case 3:
                # By one place: from behind an event into it, or before it.
                text = text[:at] + text[at + 1 : at + 2] + mark + text[at + 2 :]
            case 4 | 5:
                # The end of a line, or what separates two elements, by one place.
                ends = [at for at in places if text[at : at + 1] in b"\n,"]
                at = max(1, chance.choice(ends or [at]))
                text = text[: at - 1] + text[at : at + 1] + text[at - 1 : at] + text[at + 1 :]
            case 6:
                text = text[:at] + bytes([chance.choice(_MARKS)]) + text[at + 1 :]
            case _:
                text = text[:at] + bytes([chance.choice(_MARKS)]) + text[at:]
    return text


def _check_framing(chance: random.Random, judge: Rules, text: bytes) -> None:
    """Check that a stream has the same verdicts however it is cut into reads."""
    framer, rules = Framer(judge.max_event_bytes + 1), envelope(judge)
    cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randrange(4)))
    found: list[int | None] = []

    def take() -> Iterator[int | None]:
        while (piece := framer.take(chance.choice([1, 50, 512 * 1024]))) is not None:
            if isinstance(piece, Excerpt):
                yield 413
                continue
            checked, refused, rest = rules.sift(piece)
            framer.put_back(rest) if rest else None
            fates: list[int | None] = [None] * (checked.events + len(refused))
            for refusal in refused:
                fates[refusal.index] = refusal.status
            yield from fates

    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        framer.feed(text[start:end])
        found += take()
    framer.finish()
    found += take()
    assert found == judge.stream(text, judge.max_event_bytes + 1)


def check(seed: int, number: int) -> None:
    """Make one case and check it. Raises AssertionError, with the case in its notes."""
    chance = random.Random(f"{seed}:{number}")
    judge = Rules(chance.choice(DEFAULTS), chance.choice(ROUTES))
    events = [_event(chance) for _ in range(chance.choice([1, 2, 2, 3, 3, 5]))]
    if chance.random() < 0.05:
        events *= 40
    way = chance.choice(["stream", "stream", "lines", "array", "object", "each line", "each element", "framing"])
    if way in {"array", "each element"}:
        text = _spoiled(chance, b"[" + chance.choice([b",", b",", b", ", b",\n"]).join(events) + b"]")
    elif way == "object":
        text = _spoiled(chance, events[0] + chance.choice([b"", b"\n"]))
    else:
        ends = chance.choices(_ENDS, k=len(events)) if chance.random() < 0.5 else [b"\n"] * len(events)
        text = _spoiled(chance, b"".join(event + end for event, end in zip(events, ends, strict=True)))
        if chance.random() < 0.2:
            limit = len(chance.choice(text.split(b"\n"))) + chance.randrange(-1, 2)
            judge = Rules(judge.defaults, judge.routes, max(1, limit))
    try:
        _check_way(way, chance, judge, text)
    except Exception as error:
        error.add_note(f"--seed {seed} --first {number} --cases 1: {way}, {judge}\n{text!r}")
        raise


def _glanced(rules: Envelope, *, are_lines: bool) -> Callable[[bytes], Checked]:
    """Return how requests are looked at: at a glance, and closely where that does not vouch for them."""
    closely = rules.parse_lines if are_lines else rules.parse
    return lambda body: rules.glance(body, are_lines=are_lines) or closely(body)


def _check_way(way: str, chance: random.Random, judge: Rules, text: bytes) -> None:
    match way:
        case "stream":
            check_stream(judge, text + b"\n")
        case "lines":
            check_request(envelope(judge).parse_lines, judge.request_of_lines, text)
            check_request(_glanced(envelope(judge), are_lines=True), judge.request_of_lines, text)
        case "each line":
            check_verdicts(*envelope(judge).examine_lines(text), judge.lines(text))
        case "framing":
            _check_framing(chance, judge, text)
        case "each element":
            check_elements(judge, text)
        case _:
            check_request(envelope(judge).parse, judge.request, text)
            check_request(_glanced(envelope(judge), are_lines=False), judge.request, text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.envelope.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    began = time.monotonic()
    for number in range(wanted.first, wanted.first + wanted.cases):
        check(wanted.seed, number)
    print(f"{wanted.cases:,} cases, no difference, {time.monotonic() - began:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
