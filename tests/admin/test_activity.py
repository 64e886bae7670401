"""The last acts and refusals."""

from __future__ import annotations

from forwarder.admin.activity import Acts, build_activity
from forwarder.observe.facts import Acted, Notice, Peer, Refused
from forwarder.observe.refusals import Refusals

WHO = {"uid": 1000, "pid": 7}


def test_the_last_acts_come_first() -> None:
    """The latest hundred are remembered, each with its time."""
    acts = Acts(iter(range(1000)).__next__)
    acts.saw(Notice("forwarder.started", {}))
    for number in range(150):
        acts.saw(Acted("purge", WHO, {"destination": "main"}, {"dropped": number}))
    found = build_activity(acts.recent(), [], sees_events=True).acts
    assert [act.result["dropped"] for act in found] == list(range(149, 49, -1))
    assert found[0].at.timestamp() == 149.0
    assert (found[0].act, found[0].who, found[0].failure) == ("purge", WHO, None)


def test_viewers_are_not_told_what_was_searched_for() -> None:
    """Filters, and what clients were told, may repeat contents of events."""
    acts, refusals = Acts(lambda: 1.0), Refusals(lambda: 2.0)
    acts.saw(Acted("replay", WHO, {"filter": {"destination": "main", "text": "Jane Doe"}}, {"replayed": 1}))
    acts.saw(Acted("purge", WHO, {"filter": {"ids": ["Jane"]}}, {}, "no letter of Jane"))
    refusals.saw(Refused("http", "invalid-event", 3, Peer("uid 1000", 8), "eventType: Jane"))
    shown = build_activity(acts.recent(), refusals.recent(), sees_events=False)
    assert "Jane" not in str(shown)
    assert [act.what for act in shown.acts] == [{}, {"destination": "main"}]
    (refused,) = shown.refusals
    assert (refused.peer, refused.number, refused.detail) == ("uid 1000, pid 8", 3, "")
    (refused,) = build_activity([], refusals.recent(), sees_events=True).refusals
    assert refused.detail == "eventType: Jane"
