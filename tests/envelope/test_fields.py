"""The fields of the envelope."""

from __future__ import annotations

import pytest

from forwarder.envelope.fields import is_uuid
from tests.events import UUID


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (UUID, True),
        (UUID.upper(), True),
        (UUID[:-1], False),
        (UUID + "\n", False),
        (UUID.replace("-", ""), False),
        ("", False),
    ],
)
def test_uuids(text: str, right: bool) -> None:
    """A UUID is written in the 8-4-4-4-12 form, in upper or lower case."""
    assert bool(is_uuid(text)) == right
