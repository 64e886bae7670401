"""The document of `GET /v1/status`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.admin.status import Status, build_status
from forwarder.admin.steering import DestinationStatus
from forwarder.model import Counters, LastError, QueueStats, State
from forwarder.observe.history import Pace
from forwarder.queue.fullness import Full
from tests.admin.serving import FakeFile

NOW = 1_700_000_000.0
NOTHING = Pace()


def build(
    counters: dict[str, Counters], pumps: dict[str, DestinationStatus], pace: Pace = NOTHING, **more: Any
) -> dict[str, Any]:
    stats = QueueStats("sqlite", 10, 100, None, counters, "/q/queue.db", 4096)
    status = build_status(
        stats,
        pumps,
        version="1.2.3",
        uptime=12.3456,
        not_ready=None,
        now=NOW,
        pace=lambda _name: pace,
        config=FakeFile(),
        **more,
    )
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(status))
    return document


def test_exact_shape() -> None:
    """The answer has exactly the documented members, with durations in seconds and times as RFC 3339 in UTC."""
    pump = DestinationStatus(State.BACKING_OFF, 3, 4.56789, NOW - 60, LastError(NOW - 1.5, 503, "busy"), NOW - 600)
    counters = Counters(10, 4, 3, 2, 1, oldest_accepted_at=NOW - 7.25, died=5, replayed=2)
    assert build({"main": counters}, {"main": pump}, Pace(1.5, 0.0, 30.0)) == {
        "version": "1.2.3",
        "uptime_seconds": 12.346,
        "ready": True,
        "queue": {
            "backend": "sqlite",
            "bytes": 10,
            "max_bytes": 100,
            "full": False,
            "full_since": None,
            "refused_while_full": 0,
            "full_in_seconds": None,
            "disk_free_bytes": 4096,
            "path": "/q/queue.db",
        },
        "destinations": {
            "main": {
                "state": "backing_off",
                "full": False,
                "accepted": 10,
                "queued": 4,
                "delivered": 3,
                "dead": 2,
                "dropped": 1,
                "died": 5,
                "replayed": 2,
                "oldest_age_seconds": 7.25,
                "attempts": 3,
                "next_attempt_in_seconds": 4.568,
                "last_success": "2023-11-14T22:12:20Z",
                "last_error": {"at": "2023-11-14T22:13:18.500000Z", "status": 503, "detail": "busy"},
                "set_aside": 0,
                "reason": "it answered 503: busy",
                "next_step": "look at the destination: it is tried again by itself; `forwarder queue flush -d main` "
                "tries at once",
                "waiting_for": None,
                "certificate_expires": None,
                "since": "2023-11-14T22:03:20Z",
                "rate_in": 1.5,
                "rate_out": 0.0,
                "sent_again": 0,
                "drain_seconds": None,
            }
        },
        "reload_refused": None,
        "warnings": [],
        "not_ready": None,
        "intake": {},
        "config": {
            "file": "/etc/forwarder/forwarder.yaml",
            "loaded_at": "2023-11-14T22:13:20Z",
            "changed_on_disk": False,
        },
    }


def test_full() -> None:
    """A full queue says since when and at whose cost, and has no room left; a full share is its destination's."""
    pumps = {name: DestinationStatus(State.IDLE) for name in ("main", "other")}
    found = build({}, pumps, full={None: Full("full", NOW - 60, 5, 2)}, full_in_seconds=7.0)
    assert [
        found["queue"][name] for name in ("full", "full_since", "refused_while_full", "full_in_seconds", "bytes")
    ] == [*(True, "2023-11-14T22:12:20Z", 7, 0.0, 100)]
    assert [found["destinations"][name]["full"] for name in pumps] == [False, False]
    found = build({}, pumps, full={"other": Full("full", NOW, 1, 0)}, full_in_seconds=7.0004)
    assert [found["queue"][name] for name in ("full", "full_since", "full_in_seconds", "bytes")] == [
        False,
        None,
        7.0,
        10,
    ]
    assert [found["destinations"][name]["full"] for name in pumps] == [False, True]


def test_configured_but_never_used() -> None:
    """A destination that the queue does not know yet is listed with an account of zeros."""
    destinations = build({}, {"new": DestinationStatus(State.IDLE)})["destinations"]
    assert isinstance(destinations, dict)
    assert destinations["new"]["accepted"] == 0
    assert destinations["new"]["oldest_age_seconds"] is None


def test_removed() -> None:
    """What is no longer configured is listed as removed while it keeps events or dead letters, and not longer."""
    counters = {
        "queued": Counters(accepted=1, queued=1),
        "dead": Counters(accepted=1, dead=1),
        "empty": Counters(accepted=1, delivered=1),
    }
    destinations = build(counters, {})["destinations"]
    assert isinstance(destinations, dict)
    assert {name: state["state"] for name, state in destinations.items()} == {"queued": "removed", "dead": "removed"}


@pytest.mark.parametrize("counters", [Counters(3, dead=3), Counters(3, dropped=3), Counters(3, delivered=3)])
def test_invalid(counters: Counters) -> None:
    """The account of what breaks the rules stands behind the destinations from the first time on."""
    idle = {"main": DestinationStatus(State.IDLE)}
    destinations = build({"invalid": counters, "main": Counters()}, idle)["destinations"]
    assert isinstance(destinations, dict)
    assert {name: state["state"] for name, state in destinations.items()} == {"main": "idle", "invalid": "invalid"}
    assert build({"invalid": Counters(), "main": Counters()}, idle)["destinations"].keys() == {"main"}


@pytest.mark.parametrize(
    ("pump", "drain"),
    [
        (DestinationStatus(State.DELIVERING), 30.0),
        (DestinationStatus(State.IDLE), 30.0),
        (DestinationStatus(State.DELIVERING, attempts=1), None),
        (DestinationStatus(State.HOLDING, attempts=1), None),
        (DestinationStatus(State.PAUSED), None),
    ],
)
def test_time_to_drain(pump: DestinationStatus, drain: float | None) -> None:
    """How long a backlog takes is told only as long as it is being delivered."""
    destinations = build({"main": Counters(9, 9)}, {"main": pump}, Pace(1.0, 2.0, 30.0))["destinations"]
    assert isinstance(destinations, dict)
    assert destinations["main"]["drain_seconds"] == drain


def test_clock_set_back() -> None:
    """An event that seems to come from the future has the age 0, and a time that has passed is due now."""
    pump = DestinationStatus(State.IDLE, next_attempt_in_seconds=-2.0)
    destinations = build({"main": Counters(1, 1, oldest_accepted_at=NOW + 100)}, {"main": pump})["destinations"]
    assert isinstance(destinations, dict)
    assert destinations["main"]["oldest_age_seconds"] == 0.0
    assert destinations["main"]["next_attempt_in_seconds"] == 0.0


@given(st.floats(), st.floats(0, 4e9))
def test_any_number_as_a_time(oldest: float, now: float) -> None:
    """Whatever a damaged file says, an age is from nothing to the time since 1970, and a time can be written."""
    found = build_status(
        QueueStats("sqlite", 0, 0, destinations={"main": Counters(1, 1, oldest_accepted_at=oldest)}),
        {"main": DestinationStatus(State.IDLE, last_success=oldest)},
        version="1",
        uptime=0.0,
        not_ready=None,
        now=now,
    )
    age = found.destinations["main"].oldest_age_seconds
    assert age is not None
    assert 0 <= age <= now + 0.001
    assert msgspec.json.decode(msgspec.json.encode(found), type=Status) == found


@given(st.lists(st.tuples(*[st.integers(0, 2**62)] * 4), min_size=1, max_size=5))
def test_accounts_are_passed_on(parts: list[tuple[int, int, int, int]]) -> None:
    """The counters are those of the queue, so that accepted equals the sum of the others."""
    counters = {f"d{at}": Counters(sum(part), *part) for at, part in enumerate(parts)}
    destinations = build(counters, {name: DestinationStatus(State.IDLE) for name in counters})["destinations"]
    assert isinstance(destinations, dict)
    for at, part in enumerate(parts):
        state = destinations[f"d{at}"]
        assert (state["queued"], state["delivered"], state["dead"], state["dropped"]) == part
        assert state["accepted"] == sum(part)
