"""What the status says, as metrics."""

from __future__ import annotations

from forwarder.admin.measures import families
from forwarder.admin.status import build_status
from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.model import Counters, QueueStats, State
from forwarder.observe.facts import Condition
from forwarder.observe.measures import MEASURES
from forwarder.queue.fullness import Full

STATS = QueueStats(
    "sqlite",
    bytes=4096,
    max_bytes=8192,
    destinations={
        "main": Counters(
            accepted=100,
            queued=40,
            delivered=50,
            dead=7,
            dropped=3,
            died=9,
            replayed=2,
            queued_bytes=4000,
            oldest_accepted_at=900.0,
        ),
        "audit": Counters(),
    },
)
PUMPS = {
    "main": DestinationStatus(State.HOLDING, attempts=3, last_success=950.0, set_aside=2, certificate_ends=2000.0),
    "audit": DestinationStatus(State.IDLE),
}


def read(**more: object) -> dict[tuple[str, ...], float]:
    """Return each value by the name of its metric and its labels."""
    arguments = {"version": "1.2.3", "uptime": 5.0, "not_ready": None, "now": 1000.0, **more}
    status = build_status(STATS, PUMPS, **arguments)  # type: ignore[arg-type]
    return {(family.name, *labels): value for family in families(status) for labels, value in family.samples}


def test_the_account_of_each_destination() -> None:
    """Counters, depths and ages are those of the status."""
    found = read()
    for metric, value in {
        "forwarder_events_accepted_total": 100,
        "forwarder_events_delivered_total": 50,
        "forwarder_events_died_total": 9,
        "forwarder_events_replayed_total": 2,
        "forwarder_events_dropped_total": 3,
        "forwarder_events_queued": 40,
        "forwarder_events_dead": 7,
        "forwarder_events_set_aside": 2,
        "forwarder_queue_oldest_age_seconds": 100.0,
        "forwarder_last_success_timestamp_seconds": 950.0,
        "forwarder_certificate_expiry_seconds": 2000.0,
    }.items():
        assert found[metric, "main"] == value
    assert found["forwarder_queue_oldest_age_seconds", "audit"] == 0
    assert ("forwarder_last_success_timestamp_seconds", "audit") not in found
    assert ("forwarder_certificate_expiry_seconds", "audit") not in found


def test_each_destination_is_in_one_state() -> None:
    """One state is 1, and every other is there as 0, so that a query need not know whether it was ever met."""
    found = read()
    states = {
        labels[2]: value for labels, value in found.items() if labels[:2] == ("forwarder_destination_state", "main")
    }
    assert {state for state, value in states.items() if value} == {"holding"}
    assert states.keys() == {state.value for state in State}


def test_the_queue_and_the_process() -> None:
    """Sizes are in bytes, and what is so or not is 1 or 0."""
    conditions = [Condition("invalid.full", None, 1.0, "full"), Condition("invalid.full", "main", 2.0, "full")]
    full = {None: Full("full", 1.0, 2, 3)}
    found = read(full=full, not_ready="full", refused=Refusal(1.0, ("no",)), conditions=conditions)
    # What is in use of a full queue is all of it.
    assert found["forwarder_queue_bytes",] == 8192
    assert found["forwarder_queue_max_bytes",] == 8192
    assert found["forwarder_queue_full",] == 1
    assert read()["forwarder_queue_full",] == 0
    assert read()["forwarder_queue_bytes",] == 4096
    assert found["forwarder_ready",] == 0
    assert found["forwarder_reload_refused",] == 1
    assert found["forwarder_condition", "invalid.full", ""] == found["forwarder_condition", "invalid.full", "main"] == 1
    assert found["forwarder_build_info", "1.2.3", "sqlite"] == 1


def test_every_metric_is_in_the_table() -> None:
    """Nothing is told that is not documented."""
    assert {name for name, *_labels in read()} <= MEASURES.keys()
