"""The types that the fields of the envelope must have."""

from __future__ import annotations

import pytest

from forwarder.envelope.exact import read_envelope
from forwarder.envelope.fields import RefusedError, check_kinds, too_large_words


@pytest.mark.parametrize(
    ("member", "field", "said"),
    [
        (b'"eventType":1', "eventType", "must be a string, not a number"),
        (b'"data":[]', "data", "must be an object, not an array"),
        (b'"data":"x"', "data", "must be an object, not a string"),
        (b'"eventReceived":"2024-01-01T00:00:00Z"', "eventReceived", "must not be sent; the destination sets it"),
    ],
)
def test_a_field_of_the_wrong_type(member: bytes, field: str, said: str) -> None:
    """It is refused by its name, with what it must be and what it is."""
    with pytest.raises(RefusedError) as caught:
        check_kinds(*read_envelope(b"{" + member + b"}"))
    assert (caught.value.field, caught.value.message) == (field, said)


@pytest.mark.parametrize(
    "member", [b'"eventType":null', b'"data":null', b'"data":{}', b'"eventReceived":null', b'"x":1']
)
def test_null_counts_as_absent(member: bytes) -> None:
    """A null is no value of a wrong type, and what is not of the envelope may be anything."""
    check_kinds(*read_envelope(b"{" + member + b"}"))


def test_an_event_over_the_limit() -> None:
    """It is told how large it is, and which setting bounds it."""
    assert too_large_words(300_000, 262_144) == (
        "the event has 300,000 bytes, the limit is 262,144 (ingest.max_event_bytes)"
    )
