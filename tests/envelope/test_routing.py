"""Which destinations an event goes to."""

from __future__ import annotations

import tracemalloc

from forwarder.envelope.fields import Fields
from forwarder.envelope.routing import Routing


def event(source: str = "s", type_: str | None = "t") -> Fields:
    return Fields(eventSourceId=source, eventType=type_)


def test_without_patterns_every_event_goes_everywhere() -> None:
    """A destination without `match` gets every event."""
    assert Routing({"a": {}, "b": {}}).of([event(), event()]) == [("a", "b")] * 2


def test_all_fields_must_match_one_of_their_patterns() -> None:
    """Patterns of one field are alternatives, several fields must all match, and an absent field matches nothing."""
    routing = Routing({"a": {"eventSourceId": ["x*", "s"], "eventType": ["t?"]}, "b": {"eventType": ["[tu]*"]}})
    assert routing.of_one(event("s", "t1")) == ("a", "b")
    assert routing.of_one(event("s", "t12")) == ("b",)
    assert routing.of_one(event("xy", "v1")) == ()
    assert routing.of_one(event("s", None)) == ()


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """Values come from producers: however many there are and however long, what is remembered of them stays small."""
    routing = Routing({"a": {"eventType": ["t*"], "eventSourceId": ["s*"]}})
    tracemalloc.start()
    try:
        for length, count in ((250_000, 50), (200, 10_000)):
            for number in range(count):
                # Each takes four bytes a character.
                text = f"t{number}\U0001f600" + "x" * length
                assert routing.of_one(event("s1", text)) == ("a",)
                assert routing.of_one(event("s" + text, text)) == ("a",)
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 8 * 1024 * 1024
