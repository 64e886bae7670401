"""The metrics that the status knows, purely from the status: the two cannot contradict each other."""

from __future__ import annotations

from collections.abc import Callable

from forwarder.admin.status import DestinationState, Status
from forwarder.model import INVALID, State
from forwarder.observe.measures import Family

_OF_EACH: dict[str, Callable[[DestinationState], float | None]] = {
    "forwarder_events_accepted_total": lambda found: found.accepted,
    "forwarder_events_delivered_total": lambda found: found.delivered,
    "forwarder_events_died_total": lambda found: found.died,
    "forwarder_events_replayed_total": lambda found: found.replayed,
    "forwarder_events_dropped_total": lambda found: found.dropped,
    "forwarder_batches_sent_again_total": lambda found: found.sent_again,
    "forwarder_events_queued": lambda found: found.queued,
    "forwarder_events_dead": lambda found: found.dead,
    "forwarder_events_set_aside": lambda found: found.set_aside,
    "forwarder_queue_oldest_age_seconds": lambda found: found.oldest_age_seconds or 0.0,
    "forwarder_certificate_expiry_seconds": lambda found: (
        None if found.certificate_expires is None else found.certificate_expires.timestamp()
    ),
    "forwarder_last_success_timestamp_seconds": lambda found: (
        None if found.last_success is None else found.last_success.timestamp()
    ),
}


def families(status: Status) -> list[Family]:
    """Return the metrics that can be read off a status."""
    queue = status.queue
    samples = {name: _each(status, read) for name, read in _OF_EACH.items()}
    if INVALID not in status.destinations:
        # Else the series would begin with the first of them, and no increase be seen.
        samples["forwarder_events_died_total"].append(((INVALID,), 0.0))
    states = [
        ((name, state.value), float(destination.state is state))
        for name, destination in status.destinations.items()
        for state in State
    ]
    conditions = [((warned.key, warned.destination or ""), 1.0) for warned in status.warnings]
    return [
        *[Family(name, values) for name, values in samples.items()],
        Family("forwarder_destination_state", states),
        Family("forwarder_queue_bytes", [((), queue.bytes)]),
        Family("forwarder_queue_max_bytes", [((), queue.max_bytes)]),
        Family("forwarder_queue_full", [((), float(queue.full))]),
        Family("forwarder_queue_full_in_seconds", _known(queue.full_in_seconds)),
        Family("forwarder_disk_free_bytes", _known(queue.disk_free_bytes)),
        Family("forwarder_ready", [((), float(status.ready))]),
        Family("forwarder_condition", conditions),
        Family("forwarder_reload_refused", [((), float(status.reload_refused is not None))]),
        Family("forwarder_build_info", [((status.version, queue.backend), 1.0)]),
    ]


def _each(status: Status, read: Callable[[DestinationState], float | None]) -> list[tuple[tuple[str, ...], float]]:
    found = [(name, read(destination)) for name, destination in status.destinations.items()]
    return [((name,), value) for name, value in found if value is not None]


def _known(value: float | None) -> list[tuple[tuple[str, ...], float]]:
    return [] if value is None else [((), value)]
