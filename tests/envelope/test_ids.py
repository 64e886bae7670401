"""Event ids."""

from __future__ import annotations

import json
import uuid

import pytest

from forwarder.envelope import event_id, new_ids
from tests.events import UUID


def test_new_ids_are_version_4() -> None:
    """New ids carry the version and the variant of RFC 9562, whatever the random bytes."""
    for filler in (b"\x00", b"\xff", b"\x5a"):
        ids = new_ids(lambda count, filler=filler: filler * count, 3)  # type: ignore[misc]
        assert len(ids) == 3
        for found in ids:
            parsed = uuid.UUID(found)
            assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
            assert str(parsed) == found
    assert new_ids(bytes, 0) == []


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (json.dumps({"data": {"eventId": "x"}, "eventId": UUID}).encode(), UUID),
        (b'{"eventId":null}', ""),
        (b"{}", ""),
        (b"", ""),
        (b'{"eventId":"\xff"}', ""),
        (b'{"\xff":1,"eventId":"', ""),
        (b'{"data":' * 100_000, ""),
    ],
)
def test_the_id_of_a_stored_event(event: bytes, found: str) -> None:
    """The id of a stored event is read for people; a damaged event has none, and that is no error."""
    assert event_id(event) == found
