"""Finding dead letters, and putting those together that died of the same."""

from __future__ import annotations

import pytest

from forwarder.model import DeadFilter, DeadGroup, DeadLetter
from forwarder.queue.finding import Groups, finds

LETTER = DeadLetter(7, "main", "an-id", "rejected", 422, "no", 1.0, 2.0, '{"eventType":"login","who":"Jörg"}'.encode())
ESCAPED = DeadLetter(8, "main", "", "expired", None, "", 1.0, 2.0, rb'{"who":"J\u00F6rg \"x\""}')


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DeadFilter(), [7, 8]),
        (DeadFilter(ids=("7",)), [7]),
        (DeadFilter(ids=("",)), []),
        (DeadFilter(type="login"), [7]),
        (DeadFilter(text="jÖRG"), [7, 8]),
        (DeadFilter(text='"x"'), [8]),
        (DeadFilter(text="rg", status=0), [8]),
        (DeadFilter(status=422, detail="no"), [7]),
        (DeadFilter(status=422, detail=""), []),
        (DeadFilter(after=7), [8]),
        (DeadFilter(last=7), [7]),
    ],
)
def test_filters(wanted: DeadFilter, found: list[int]) -> None:
    """All filters have to match; a text is found however its producer has written it."""
    assert [letter.id for letter in (LETTER, ESCAPED) if finds(wanted, letter)] == found


def group(detail: str, events: int = 1, status: int | None = 422, at: float = 1.0) -> DeadGroup:
    return DeadGroup("main", "rejected", status, detail, events, at, at)


def test_parts_of_a_group_are_added() -> None:
    """Number and times of a group cover all of its parts; the largest group comes first."""
    groups = Groups()
    for part in (group("a", at=5.0), group("b", events=3), group("a", at=2.0), group("b", status=None)):
        groups.add(part)
    assert groups.largest() == [
        group("b", events=3),
        DeadGroup("main", "rejected", 422, "a", 2, 2.0, 5.0),
        group("b", status=None),
    ]


def test_what_is_different_each_time_is_bounded() -> None:
    """Where every event got another answer, none is lost from the count, and few groups are told."""
    groups = Groups()
    groups.add(group("the same", events=5))
    for number in range(10_000):
        groups.add(group(f"answer {number}"))
    found = groups.largest()
    assert sum(each.events for each in found) == 10_005
    assert len(found) <= 201
    assert found[0].detail is None
    assert found[1] == group("the same", events=5)
