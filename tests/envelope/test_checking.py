"""The rules of the envelope, and that nothing of an event changes on its way through them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forwarder.envelope import MAX_ERRORS, MAX_SEGMENT_BYTES, Checked, Envelope
from forwarder.errors import InvalidEventsError, MalformedError, TooLargeError
from forwarder.model import count_lines, has_more, lines_within
from tests.events import UUID, event_texts, loads, spaces, tokens, verdict

ZERO_ID = "00000000-0000-4000-8000-000000000000"
DEFAULTS: list[dict[str, str]] = [
    {},
    {"eventSourceId": "mé"},
    {"eventObjectType": "user"},
    {"eventObjectType": "user", "eventObjectId": "7", "version": "1", "eventKeyId": "k"},
    {"eventSourceId": "s", "eventType": "t"},
]
# A line that is refused sends its neighbours the exact way.
BAD = b'{"eventSourceId":1}\n'


def envelope(
    defaults: Mapping[str, str] | None = None,
    routes: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    max_event_bytes: int = 256 * 1024,
) -> Envelope:
    """Return an envelope whose new ids are all zeros."""
    return Envelope(
        routes=routes or {"main": {}}, defaults=defaults, max_event_bytes=max_event_bytes, random_bytes=bytes
    )


def event(**members: Any) -> dict[str, Any]:
    """Return an event that breaks no rule."""
    return {"eventSourceId": "app", "eventType": "Tested", **members}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def lines(*events: Any) -> bytes:
    return b"".join(compact(value) + b"\n" for value in events)


def refused(rules: Envelope, *events: Any) -> list[tuple[int, str, str]]:
    """Return index, field and message of each refused event of a request."""
    with pytest.raises(InvalidEventsError) as caught:
        rules.parse(compact(list(events)))
    return [(error.index, error.field, error.message) for error in caught.value.errors]


def canonical_lines(data: bytes) -> bytes:
    """Return the lines that are not blank, without the white space around them."""
    return b"".join(line.strip(b" \t\r") + b"\n" for line in data.split(b"\n") if line.strip(b" \t\r"))


def compacted(lines: bytes) -> list[bytes]:
    """Return each line without the white space between its tokens."""
    return [msgspec.json.format(line, indent=-1) for line in lines.splitlines()]


@pytest.mark.slow
class TestProperties:
    @settings(deadline=None)
    @given(event_texts(), st.sampled_from(DEFAULTS))
    def test_the_rules_are_those_of_the_event_api(self, text: str, defaults: dict[str, str]) -> None:
        """An event is accepted exactly where an independent reading of the rules accepts it, and for the same field."""
        rules = envelope(defaults)
        wanted = verdict(text, defaults)
        for parse in (rules.parse, rules.parse_lines):
            if wanted is None:
                assert parse(text.encode()).events == 1
                continue
            with pytest.raises(InvalidEventsError) as caught:
                parse(text.encode())
            assert [error.index for error in caught.value.errors] == [0]
            if wanted:
                assert caught.value.errors[0].field == wanted

    @settings(deadline=None)
    @given(event_texts(), st.sampled_from(DEFAULTS))
    @example('{ "eventType" : "t" , "eventSourceId" : "s" }', {})
    @example('{"eventType":"t","eventSourceId":"s", "eventObjectId":"1" }', {"eventObjectType": "user"})
    @example("{}", {"eventSourceId": "s", "eventType": "t"})
    @example("{ }", {"eventSourceId": "s", "eventType": "t"})
    @example('{"eventType":"t","eventSourceId":"s","event\\u0049d":"' + UUID + '"}', {})
    def test_the_quick_way_and_the_exact_way_agree(self, text: str, defaults: dict[str, str]) -> None:
        """An event gives the same bytes, but for white space, whether it is alone or beside one that is refused."""
        rules = envelope(defaults)
        line = canonical_lines(text.encode())
        alone, refusals, _ = rules.sift(line)
        beside, others, _ = rules.sift(line + BAD if "eventSourceId" not in defaults else line + b"[]\n")
        assert compacted(beside.data) == compacted(alone.data)
        assert beside.routes == alone.routes
        assert [refusal.detail for refusal in others[:-1]] == [refusal.detail for refusal in refusals]

    @settings(deadline=None)
    @given(event_texts(), st.sampled_from(DEFAULTS))
    @example('{"eventSourceId":"s","eventType":"t","eventId":null,"data":{"eventId":null}}', {})
    @example('{ "eventId" : null,"eventType":"t", "version":null,"eventSourceId":"s"}', {"version": "1"})
    def test_what_was_written_is_kept(self, text: str, defaults: dict[str, str]) -> None:
        """Every token of an accepted event is the producer's; fields are put in front, or in place of a null."""
        checked, _, _ = envelope(defaults).sift(canonical_lines(text.encode()))
        if not checked.events:
            return
        written, stored = loads(text), loads(checked.data.decode())
        before = {name: value for name, value in written if name in {"eventId", *DEFAULTS[3], *DEFAULTS[4]}}
        filled = {"eventId": ZERO_ID, **defaults}
        added = len(stored) - len(written)
        assert all(name not in before and value == filled[name] for name, value in stored[:added])
        kept = [
            (name, filled[name] if was is None and now is not None else was)
            for (name, was), (_, now) in zip(written, stored[added:], strict=True)
        ]
        assert stored[added:] == kept
        assert dict(stored)["eventId"] == (before.get("eventId") or ZERO_ID)
        new = tokens(checked.data.decode())
        if None not in [value for name, value in written if name in filled]:
            assert new[: 1 + 4 * added] + tokens(text)[1:] == new
            assert len(new) == len(tokens(text)) + 4 * added

    @settings(deadline=None)
    @given(
        st.lists(event_texts().filter(lambda text: verdict(text) is None), max_size=5),
        spaces,
        st.sampled_from(["\n", "\r\n", "\n\n", " \n\t\r\n"]),
    )
    def test_all_forms_of_a_request_come_to_the_same(self, texts: list[str], space: str, end: str) -> None:
        """An array, lines ended in any way, and lines one by one give the same events, ids and segments."""
        rules = envelope()
        sifted, refusals, _ = rules.sift(canonical_lines("\n".join(texts).encode()))
        assert refusals == []
        array = f"{space}[{space}" + f"{space},{space}".join(texts) + f"{space}]{space}"
        body = space + end.join(texts) + end
        for checked in (rules.parse(array.encode()), rules.parse_lines(body.encode())):
            assert checked == sifted
        assert sifted.events == len(texts) == len(sifted.event_ids())
        assert sifted.event_ids() == [dict(loads(line))["eventId"] for line in sifted.data.decode().split("\n")[:-1]]

    @settings(deadline=None)
    @given(st.lists(event_texts(), min_size=1, max_size=5))
    def test_one_bad_event_does_not_take_its_neighbours_with_it(self, texts: list[str]) -> None:
        """Of many lines, exactly the bad ones are refused, each by its place."""
        checked, refusals, _ = envelope().sift("".join(text + "\n" for text in texts).encode())
        assert [refusal.index for refusal in refusals] == [
            i for i, text in enumerate(texts) if verdict(text) is not None
        ]
        assert checked.events == len(texts) - len(refusals) == checked.data.count(b"\n")

    @settings(deadline=None)
    @given(event_texts(), st.binary(min_size=1, max_size=3), st.integers(0, 100))
    def test_bytes_out_of_place_do_no_harm(self, text: str, garbage: bytes, percent: int) -> None:
        """Whatever is put into an event, it is stored only where it is still JSON, on one line."""
        data = text.encode()
        at = len(data) * percent // 100
        spoiled = data[:at] + garbage + data[at:]
        checked, refusals, _ = envelope().sift(canonical_lines(spoiled))
        for line in checked.data.split(b"\n")[:-1]:
            msgspec.json.decode(line.decode(), type=dict[str, msgspec.Raw])
        assert checked.events + len(refusals) == canonical_lines(spoiled).count(b"\n")


class TestSpeed:
    @pytest.mark.parametrize(
        "text",
        [
            b'{"eventSourceId":"a","eventType":"t"}',
            b'{ "eventSourceId" : "a", "eventType":"t" }',
            b'{"eventSourceId":"a","eventType":"t","data":{"eventId":1,"version":2,"data":{},"eventTime":3}}',
            b'{"eventSourceId": "a", "eventType": "t", "data": {"eventId": 1, "version": 2, "data": {}}}',
            b'{"eventSourceId":"a","eventType":"t","version":null,"data":null,"eventKeyId":null,"eventReceived":null}',
            b'{"eventSourceId":"a","eventType":"t","x":"\\u0041 \\"eventType\\": 1"}',
            '{"eventSourceId":"a","eventType":"t","é":1,"data":{"version":1}}'.encode(),
        ],
    )
    def test_usual_events_go_the_quick_way(self, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is merely unusual is not looked at line by line: that takes several times as long."""

        def too_slow(line: bytes) -> None:
            raise AssertionError(line)

        monkeypatch.setattr("forwarder.envelope.checking.read_envelope", too_slow)
        assert envelope().sift((text + b"\n") * 100)[0].events == 100

    @pytest.mark.parametrize("defaults", DEFAULTS[:3])
    def test_usual_arrays_are_read_once(self, defaults: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The elements of a compact array are not looked for, in whatever order they have their members."""
        rules = envelope(defaults, routes={"main": {"eventType": ["T*"]}, "other": {"eventKeyId": ["k"]}})
        first = [event(eventId=str(UUID), version="é", data={"a": [1, {"b": "\n,}"}]}) for _ in range(3)]
        for events in (
            first,
            [dict(reversed(found.items())) for found in first],
            [{"data": {}, **found} for found in first],
            [event(eventKeyId="k"), event(data=None), *first],
            [event()],
        ):
            wanted = rules.parse_lines(lines(*events))
            array = json.dumps(events, separators=(",", ":"), ensure_ascii=False).encode()
            with monkeypatch.context() as patched:
                if not any("data" in found and found["data"] is None for found in events):
                    patched.setattr("forwarder.envelope.checking.split_array", None)
                found = rules.parse(array)
            assert found.event_ids() == wanted.event_ids()
            assert found.routes == wanted.routes
            assert [json.loads(line) for line in found.data.splitlines()] == [
                json.loads(line) for line in wanted.data.splitlines()
            ]
            assert [segment.events for segment in found.segments] == [segment.events for segment in wanted.segments]

    def test_a_close_look_is_bounded(self) -> None:
        """Of a flood of bad lines some are looked at in one go; what is left comes back to be looked at later."""
        body, refused = b"{}\n" * 20_000, 0
        while body:
            _, refusals, rest = envelope().sift(body)
            assert 512 <= len(refusals) < 1024 or not rest
            assert len(body) - len(rest) == 3 * len(refusals)
            refused, body = refused + len(refusals), rest
        assert refused == 20_000


class TestMalformed:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "not JSON|neither|empty"),
            (b"null", "neither a JSON object nor an array"),
            (b'"text"', "neither a JSON object nor an array"),
            (b"{", "ends too early"),
            (b"[{}", "ends too early"),
            (b"{}{}", "trailing characters"),
            (b"[{}] x", "trailing characters"),
            (b'{"a":01}', "invalid number"),
            (b'{"a":NaN}', "not JSON"),
            (b'{"a":"\x01"}', "invalid character"),
            (b'{"a":"\\x"}', "invalid escape"),
            (b'{"a":"\\udc00"}', "surrogate"),
            (b'{"a":"\xff"}', "not UTF-8: invalid start byte at byte 6"),
            (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"[" * 100_000, "nested too deeply"),
            (b'{"data":' * 100_000, "nested too deeply"),
            (b"\n[" * 100_000, "nested too deeply"),
        ],
    )
    def test_a_body_that_is_not_json(self, body: bytes, words: str) -> None:
        """What is not JSON, or not UTF-8, or nested beyond measure is refused as malformed, and the words say where."""
        with pytest.raises(MalformedError, match=words):
            envelope().parse(body)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (b"{} {}", "trailing characters"),
            (b"oops", "invalid character"),
            (b'"unfinished', "ends too early"),
            (b'{"data":' * 10_000 + b"{" + b"}" * 10_001, "nested too deeply"),
            (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
        ],
    )
    def test_a_line_that_is_not_json(self, line: bytes, words: str) -> None:
        """One malformed line refuses a request of lines as malformed, by its index; a stream loses that line alone."""
        body = lines(event()) + line + b"\n" + lines(event())
        with pytest.raises(MalformedError, match=f"event 1: .*{words}"):
            envelope().parse_lines(body)
        checked, refusals, _ = envelope().sift(body)
        assert checked.events == 2
        assert [(refusal.index, refusal.status) for refusal in refusals] == [(1, 400)]

    def test_a_value_over_several_lines(self) -> None:
        """A value that goes over several lines is no line of JSON; as a JSON body it is, and becomes one line."""
        pretty = json.dumps(event(data={"a": [1, 2]}), indent=2).encode()
        with pytest.raises(MalformedError):
            envelope().parse_lines(pretty)
        assert envelope().parse(pretty).data == envelope().parse(compact(event(data={"a": [1, 2]}))).data
        array = json.dumps([event(), event()], indent=2).replace("\n", "\r\n").encode()
        assert envelope().parse(array).data == lines({"eventId": ZERO_ID, **event()}) * 2

    @pytest.mark.parametrize("inner", [b'{\n"a":1}', b'{"a":[1,\n2]}', b'{"a":{"b":\n{}}}', b'{"a":1\n}'])
    def test_a_newline_inside_data(self, inner: bytes) -> None:
        """A newline inside a value ends the line there, however usual the event is: stored lines hold none."""
        good = lines(event(eventId=UUID))
        broken = compact(event(data="?")).replace(b'"?"', inner)
        checked, refusals, _ = envelope().sift(good + broken + b"\n" + good)
        assert checked.data == good * 2
        assert [(refusal.index, refusal.status) for refusal in refusals] == [(1, 400), (2, 400)]
        with pytest.raises(MalformedError, match="event 1: "):
            envelope().parse_lines(good + broken)

    def test_not_utf8_on_the_stream(self) -> None:
        """A line that is not UTF-8 is refused as malformed, also in places that the JSON decoder does not look at."""
        spoiled = compact(event(data={"x": "?"})).replace(b"?", b"\xff")
        checked, refusals, _ = envelope().sift(lines(event()) + spoiled + b"\n" + lines(event(data={"x": "é"})))
        assert checked.events == 2
        assert [(found.index, found.status) for found in refusals] == [(1, 400)]
        assert "not UTF-8: invalid start byte" in refusals[0].detail


class TestRules:
    @pytest.mark.parametrize(
        ("spoiled", "field", "words"),
        [
            ({"eventSourceId": ""}, "eventSourceId", "is required: a string that is not empty"),
            ({"eventSourceId": None}, "eventSourceId", "is required: a string that is not empty"),
            ({"eventType": 7}, "eventType", "must be a string, not a number"),
            ({"version": 1.5}, "version", "must be a string, not a number"),
            ({"eventKeyId": True}, "eventKeyId", "must be a string, not a boolean"),
            ({"eventObjectId": ["x"]}, "eventObjectId", "must be a string, not an array"),
            ({"data": "x"}, "data", "must be an object, not a string"),
            ({"data": []}, "data", "must be an object, not an array"),
            ({"eventReceived": 1}, "eventReceived", "must not be sent; the destination sets it"),
            ({"eventId": "x"}, "eventId", "must be a UUID such as .*, or be left out"),
            ({"eventId": UUID + " "}, "eventId", "must be a UUID"),
            ({"eventId": ""}, "eventId", "must be a UUID"),
            ({"eventObjectType": "user"}, "eventObjectId", "is required beside eventObjectType"),
            ({"eventObjectId": "1"}, "eventObjectType", "is required beside eventObjectId"),
        ],
    )
    def test_what_is_wrong_is_named(self, spoiled: dict[str, Any], field: str, words: str) -> None:
        """Each broken rule names its field and says what would be right."""
        ((index, found, message),) = refused(envelope(), event(), event(**spoiled))
        assert (index, found) == (1, field)
        assert re.search(words, message)

    def test_elements_that_are_no_objects(self) -> None:
        """An array may hold nothing but objects."""
        assert refused(envelope(), 1, event(), "x", [event()], None) == [
            (index, "", "an event must be a JSON object") for index in (0, 2, 3, 4)
        ]

    def test_at_most_twenty_errors(self) -> None:
        """A request of nothing but bad events is answered with the first twenty, and is not read to its end."""
        errors = refused(envelope(), *[event(version=number) for number in range(1000)])
        assert [index for index, _, _ in errors] == list(range(MAX_ERRORS))

    def test_a_stream_hears_of_every_refusal(self) -> None:
        """Sifting names each refused line, however many there are."""
        _, refusals, _ = envelope().sift(lines(*[event(version=number) for number in range(100)]))
        assert [refusal.index for refusal in refusals] == list(range(100))
        assert refusals[0].detail == "version: must be a string, not a number"

    def test_null_counts_as_absent(self) -> None:
        """A field that is null is forwarded as it is, unless it has to be filled in."""
        names = ("eventObjectType", "eventObjectId", "version", "eventKeyId", "data", "eventReceived")
        given_ = event(eventId=UUID, **dict.fromkeys(names))
        assert envelope().parse(compact(given_)).data == lines(given_)

    def test_keys_that_stand_twice(self) -> None:
        """A field of the envelope may stand once; other keys, and keys inside data, are the producer's business."""
        twice = (
            b'{"eventSourceId":"a","eventType":"t","x":1,"x":2,"data":{"data":1,"data":2,"eventId":3},"eventId":"%b"}'
        )
        good = twice % UUID.encode()
        assert envelope().parse(good).data == good + b"\n"
        for field in (
            b'"eventType":"t"',
            b'"event\\u0054ype":"t"',
            b'"\\u0065ventType":"u"',
            b'"\\u0064\\u0061ta":{}',
            b'"eventType":null',
            b'"data":{}',
        ):
            name = "data" if b"ta" in field else "eventType"
            with pytest.raises(InvalidEventsError) as caught:
                envelope().parse(good[:-1] + b"," + field + b"}")
            assert [(e.field, e.message) for e in caught.value.errors] == [
                (name, "stands 2 times in one event; keep one")
            ]

    def test_a_field_whose_name_is_escaped(self) -> None:
        """An envelope field is known by its name, however that is written."""
        written = b'{"eventSourceId":"a","eventType":"t","\\u0065ventId":"%b"}' % UUID.encode()
        assert envelope().parse(written).data == written + b"\n"
        assert envelope().parse(written).event_ids() == [UUID]


class TestFilling:
    def test_an_id_of_its_own_for_each_event(self) -> None:
        """Events without an id each get a random UUID of version 4; ids that are there stay."""
        rules = Envelope(routes={"main": {}})
        ids = rules.parse(compact([event(), event(eventId=UUID), event(eventId=None), event()])).event_ids()
        assert ids[1] == UUID
        assert len(set(ids)) == 4
        pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
        assert all(pattern.fullmatch(found) for found in ids if found != UUID)

    @pytest.mark.parametrize(
        ("present", "stored"),
        [
            ({}, {}),
            ({"eventObjectType": "device"}, {"eventObjectId": "1", "eventObjectType": "device"}),
            ({"eventObjectId": "9"}, {"eventObjectType": "user", "eventObjectId": "9"}),
        ],
    )
    def test_defaults_make_no_half_pairs(self, present: dict[str, str], stored: dict[str, str]) -> None:
        """A default for one of the object fields is used where the event has the other, and left out where not."""
        missing = {name: value for name, value in stored.items() if name not in present}
        rules = envelope(missing or {"eventObjectType": "user"})
        found = json.loads(rules.parse(compact(event(eventId=UUID, **present))).data)
        assert found == event(eventId=UUID, **stored)

    def test_defaults_fill_what_is_absent_or_null(self) -> None:
        """A default never replaces what an event says; a null is filled in where it stands."""
        rules = envelope({"eventSourceId": "host-é", "version": "2"})
        body = b'{"eventType":"t","version":null,"eventId":"%b"}' % UUID.encode()
        assert (
            rules.parse(body).data
            == b'{"eventSourceId":"host-\\u00e9","eventType":"t","version":"2","eventId":"%b"}\n' % UUID.encode()
        )
        own = compact(event(eventId=UUID, version="1"))
        assert rules.parse(own).data == own + b"\n"

    def test_an_event_of_defaults_alone(self) -> None:
        """An empty object is an event where the defaults make it one."""
        rules = envelope({"eventSourceId": "s", "eventType": "t"})
        wanted = b'{"eventSourceId":"s","eventType":"t","eventId":"%b"}\n' % ZERO_ID.encode()
        assert rules.parse(b"[{},{}]").data == wanted * 2
        assert rules.sift(b"{ }\n[]\n")[0].data == wanted


class TestLimits:
    def test_the_largest_event(self) -> None:
        """An event of exactly the limit passes, before anything is put into it; one byte more is too large."""
        exact = compact(event(data={"x": "y" * 100}))
        for body in (exact, b"[" + exact + b"]"):
            assert envelope(max_event_bytes=len(exact)).parse(body).events == 1
            with pytest.raises(
                TooLargeError, match=rf"event 0: the event has {len(exact)} bytes, the limit is {len(exact) - 1} "
            ):
                envelope(max_event_bytes=len(exact) - 1).parse(body)

    def test_one_too_large_among_many(self) -> None:
        """On a stream, an event over the limit is refused alone; a request with one is refused as a whole."""
        body = lines(event(), event(data={"x": "y" * 500}), event())
        rules = envelope(max_event_bytes=200)
        checked, refusals, _ = rules.sift(body)
        assert checked.events == 2
        assert [(found.index, found.status) for found in refusals] == [(1, 413)]
        with pytest.raises(TooLargeError, match="event 1: "):
            rules.parse_lines(body)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 12), min_size=1), st.integers(0, 12))
    def test_lines_within(self, sizes: list[int], limit: int) -> None:
        """Whether all lines are within the limit is found without looking at each."""
        data = b"".join(b"x" * size + b"\n" for size in sizes)
        assert lines_within(data, limit) == (max(sizes) <= limit)

    @given(st.binary(max_size=40), st.integers(0, 8))
    def test_has_more(self, data: bytes, times: int) -> None:
        """Whether a byte stands more often than so many times is found without counting all of them."""
        assert has_more(data, b"\0", times) == (data.count(b"\0") > times)

    @given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"\r"))))
    def test_count_lines(self, found: list[bytes]) -> None:
        """Only a newline ends a line."""
        assert count_lines(b"".join(line + b"\n" for line in found)) == len(found)

    def test_segments_are_bounded(self) -> None:
        """No segment is larger than its bound, unless one event is; together they hold every event once, in order."""
        sizes = [100, 200_000, 300_000, 600_000, 50, 400_000, *[1000] * 2000]
        body = lines(*[event(eventId=UUID, n=number, data={"x": "y" * size}) for number, size in enumerate(sizes)])
        checked = envelope(max_event_bytes=1_000_000).parse_lines(body)
        assert b"".join(segment.data for segment in checked.segments) == checked.data == body
        assert all(segment.data.count(b"\n") == segment.events for segment in checked.segments)
        assert all(len(segment.data) <= MAX_SEGMENT_BYTES or segment.events == 1 for segment in checked.segments)
        assert len(checked.segments) < 12

    def test_a_large_request_with_one_bad_event(self) -> None:
        """The index of an error is that within the request, however large that is."""
        events = [event(data={"x": "y" * 1000}) for _ in range(1500)]
        events[1234]["version"] = 1
        assert [(index, field) for index, field, _ in refused(envelope(), *events)] == [(1234, "version")]

    def test_nothing_at_all(self) -> None:
        """An empty array, and a body of blank lines, hold no events and that is no error."""
        for checked in (
            envelope().parse(b" [ ] "),
            envelope().parse_lines(b""),
            envelope().parse_lines(b"\r\n \n\t\n"),
        ):
            assert checked == Checked(0, b"", [], [])


class TestRouting:
    def test_patterns(self) -> None:
        """An event goes to each destination all of whose fields match one of their patterns, in order."""
        rules = envelope(
            routes={
                "apps": {"eventSourceId": ["app-*", "web"]},
                "users": {"eventSourceId": ["app-?"], "eventObjectType": ["user"]},
                "all": {},
            }
        )
        events = [
            {"eventSourceId": source, "eventType": "t", "eventId": UUID, **extra}
            for source, extra in [
                ("app-1", {}),
                ("app-1", {"eventObjectType": "user", "eventObjectId": "1"}),
                ("web", {}),
                ("other", {}),
                ("App-1", {}),
            ]
        ]
        checked = rules.parse(compact(events))
        assert {segment.destination: segment.data for segment in checked.segments} == {
            "apps": lines(*events[:3]),
            "users": lines(events[1]),
            "all": lines(*events),
        }
        assert checked.data == lines(*events)

    def test_no_match(self) -> None:
        """An event that no destination wants is refused: it would be lost without a word."""
        rules = envelope(routes={"a": {"eventSourceId": ["app-*"]}, "b": {"version": ["1.*"]}})
        assert refused(rules, event(eventSourceId="app-1"), event(), event(version="1.8"), event(version="2")) == [
            (index, "", "matches no destination; see destinations.*.match") for index in (1, 3)
        ]

    def test_routes_of_many_kinds(self) -> None:
        """The memory of routes is bounded, and what is forgotten is found again."""
        rules = envelope(routes={"a": {"eventType": ["*1"]}, "b": {"eventType": ["*"]}})
        events = [event(eventType=str(number)) for number in range(10_000)]
        for _ in range(2):
            checked = rules.parse(compact(events))
            assert sum(segment.events for segment in checked.segments if segment.destination == "a") == 1000

    @settings(deadline=None)
    @given(st.integers(2, 9), st.data())
    def test_split(self, count: int, data: st.DataObject) -> None:
        """Events that are split keep their order and their destinations."""
        rules = envelope(routes={"odd": {"eventType": ["1"]}, "all": {}})
        checked = rules.parse(compact([event(eventType=data.draw(st.sampled_from("01"))) for _ in range(count)]))
        head, tail = checked.split()
        assert head.events == count // 2
        assert head.events + tail.events == count
        assert head.data + tail.data == checked.data
        for name in ("odd", "all"):
            parts = [segment.data for part in (head, tail) for segment in part.segments if segment.destination == name]
            assert b"".join(parts) == b"".join(s.data for s in checked.segments if s.destination == name)


class TestNesting:
    @pytest.mark.parametrize("name", ["data", "x"])
    @pytest.mark.parametrize("space", [b"", b" "])
    def test_one_limit_on_every_way(self, name: str, space: bytes) -> None:
        """An event has 512 levels, itself included, wherever they are, alone and beside others, as line and element."""
        rules, good = envelope(), compact(event())
        for levels, fits in ((512, True), (513, False), (900, False)):
            inner = b'{"a":' * (levels - 2) + b"{}" + b"}" * (levels - 2)
            deep = compact(event(**{name: 0})).replace(b":0", b":" + space + inner)
            for parse, body in (
                (rules.parse, deep),
                (rules.parse, b"[" + deep + b"]"),
                (rules.parse, b"[" + good + b",\n" + deep + b"]"),
                (rules.parse_lines, deep),
                (rules.parse_lines, good + b"\n" + deep + b"\n" + good),
            ):
                if fits:
                    assert parse(body).events == body.count(b"Tested")
                    continue
                with pytest.raises(MalformedError, match="nested too deeply: more than 512 levels"):
                    parse(body)
            assert [found.status for found in rules.sift(good + b"\n" + deep + b"\n")[1]] == [400] * (not fits)


class TestExamined:
    def test_one_bad_event_does_not_hide_the_others(self) -> None:
        """Event by event, the good ones may be stored and the others come back as they were, each with its reason."""
        rules = envelope(routes={"main": {"eventType": ["T*"]}}, max_event_bytes=200)
        bad = [
            compact({"eventSourceId": 1}),
            b'{"eventSourceId":"app","eventType":"Tested","x":"\\ud800"}',
            compact(event(eventType="Other")),
            compact(event(x="y" * 300)),
            b"[]",
        ]
        wanted = [(1, 422), (3, 400), (5, 422), (7, 413), (9, 422)]
        good = compact(event())
        for found in (
            rules.examine(b" [" + b" ,\n".join(part for line in bad for part in (good, line)) + b"]\n"),
            rules.examine_lines(b"\n\n".join(part for line in bad for part in (good, line))),
        ):
            checked, refusals = found
            assert checked.events == len(bad)
            assert [(one.index, one.status) for one in refusals] == wanted
            assert [one.line for one in refusals] == bad
            assert all(one.detail for one in refusals)

    def test_an_object_alone(self) -> None:
        """A single object that is refused comes back on one line."""
        checked, (refusal,) = envelope().examine(b'{"eventSourceId":\n1}')
        assert (checked.events, refusal.index, refusal.status, refusal.line) == (0, 0, 422, b'{"eventSourceId": 1}')

    def test_bytes_that_are_no_text(self) -> None:
        """An element, or a line, that is not UTF-8 is refused alone."""
        broken = compact(event(x="?")).replace(b"?", b"\xff")
        for checked, refusals in (
            envelope().examine(b"[" + compact(event()) + b"," + broken + b"]"),
            envelope().examine_lines(compact(event()) + b"\n" + broken),
        ):
            assert checked.events == 1
            assert [(one.index, one.status, one.line) for one in refusals] == [(1, 400, broken)]

    def test_very_many_tiny_lines(self) -> None:
        """So many lines are looked at in one go, however short they are; the others come back as they are."""
        body = b"{}\n" * 100_000
        checked, refused, rest = envelope({"eventSourceId": "s", "eventType": "t"}).sift(body)
        assert 0 < checked.events < 20_000
        assert refused == []
        assert rest == b"{}\n" * (100_000 - checked.events)

    def test_too_many_to_tell_one_by_one(self) -> None:
        """A body of nothing but refused events is refused as a whole, instead of being kept in memory one by one."""
        tiny, good = b"[],", compact(event())
        checked, refusals = envelope().examine(b"[" + tiny * 9_999 + good + b"]")
        assert (checked.events, len(refusals)) == (1, 9_999)
        for examine, body in (
            (envelope().examine, b"[" + tiny * 100_000 + good + b"]"),
            (envelope().examine_lines, b"[]\n" * 100_000 + good),
        ):
            with pytest.raises(InvalidEventsError) as caught:
                examine(body)
            assert len(caught.value.errors) == MAX_ERRORS

    @pytest.mark.parametrize("body", [b"", b"[1", b"{}{}", b"[" * 100_000, b"\xef\xbb\xbf[]", b"true"])
    def test_what_cannot_be_told_apart(self, body: bytes) -> None:
        """A body that is neither a JSON object nor an array is refused as a whole."""
        with pytest.raises(MalformedError):
            envelope().examine(body)


class TestGlance:
    @pytest.mark.parametrize("defaults", DEFAULTS)
    def test_what_is_plain_is_vouched_for_at_a_glance(self, defaults: dict[str, str]) -> None:
        """Plain events are what a closer look makes of them, too; anything else is left to that."""
        rules, events = envelope(defaults), [event(), event(eventId=UUID, data={"a": [{}, {}]})] * 300
        array = json.dumps(events, separators=(",", ":")).encode()
        alone = compact(event(eventId=UUID))
        for body, are_lines, look in (
            *((array, False, rules.parse), (lines(*events), True, rules.parse_lines)),
            *((alone, False, rules.parse), (alone, True, rules.parse_lines)),
        ):
            found = rules.glance(body, are_lines=are_lines)
            assert found is not None
            assert (found.data, found.routes) == (look(body).data, look(body).routes)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"[" + compact(event()) + b",[]]",
            b"[" + compact(event()) + b",\n" + compact(event()) + b"]",
            b"[" + compact(event(x="?")).replace(b"?", b"\xff") + b"]",
            compact(event()) + b"}",
            compact(event()) * 2,
            compact(event()) + b"\n" + compact(event()),
            b"[" + compact(event(x="y" * 600_000)) + b"]",
        ],
    )
    def test_a_glance_never_says_no(self, body: bytes) -> None:
        """Whatever is not plain is no verdict: neither for lines nor for JSON."""
        assert envelope().glance(body, are_lines=False) is None
        assert envelope().glance(body + b"\n[]", are_lines=True) is None
