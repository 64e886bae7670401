"""The rules of the envelope hold for many events as for one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from forwarder.envelope.fields import Fields, RefusedError
from forwarder.envelope.rules import NAMES, REST, Rule, are_bodies, are_kept, refuse
from tests.events import UUID

GOOD: dict[str, Any] = {"eventSourceId": "s", "eventType": "t", "eventId": UUID}


def rule_of(field: str) -> Rule:
    [found] = [rule for rule in (*NAMES, *REST) if rule.field == field]
    return found


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("eventSourceId", {"eventSourceId": None}),
        ("eventSourceId", {"eventSourceId": ""}),
        ("eventType", {"eventType": None}),
        ("eventType", {"eventType": ""}),
        *[("eventId", {"eventId": value}) for value in (None, "", UUID[:-1], UUID + "0", UUID.replace("-", ""))],
        *[("eventId", {"eventId": value}) for value in (UUID[:-1] + "\n", UUID[:-1] + "g", UUID[:-1] + "é")],
        ("eventId", {"eventId": UUID[:8] + "0-" + UUID[10:]}),
        ("eventObjectType", {"eventObjectId": "7"}),
        ("eventObjectType", {"eventObjectId": ""}),
        ("eventObjectId", {"eventObjectType": "user"}),
    ],
)
def test_one_event_that_breaks_a_rule_among_many(field: str, broken: dict[str, str | None]) -> None:
    """Wherever it stands, the rule does not hold for all of them, and it alone is refused, by the name of the field."""
    good, bad = Fields(**GOOD), Fields(**{**GOOD, **broken})
    for events in ([bad], [bad, good], [good, good, bad]):
        assert not rule_of(field).holds(events)
        assert [rule.field for rule in (*NAMES, *REST) if not rule.holds(events)] == [field]
    refuse((*NAMES, *REST), good)
    with pytest.raises(RefusedError) as caught:
        refuse((*NAMES, *REST), bad)
    assert caught.value.field == field


@pytest.mark.parametrize("more", [{}, {"eventId": UUID.upper()}, {"eventObjectType": "user", "eventObjectId": "7"}])
def test_events_that_keep_all_rules(more: dict[str, str]) -> None:
    """An id may be written in upper case, and a pair may be there or not, in events beside each other."""
    assert are_kept((*NAMES, *REST), [Fields(**GOOD), Fields(**{**GOOD, **more})])


@pytest.mark.parametrize(
    ("body", "right"), [(b"{}", True), (b"null", True), (b"", True), (b"[]", False), (b"1", False)]
)
def test_bodies(body: bytes, right: bool) -> None:
    """The data of an event is an object, null, or not there."""
    events = [Fields(**GOOD), Fields(**GOOD, data=msgspec.Raw(body)), Fields(**GOOD, data=msgspec.Raw(b"{}"))]
    assert are_bodies(events) == right
