"""Every metric of the forwarder: what kind it is, what it means, and what its labels tell.

The table in README.md beside this file is this one, and a test compares both with what `/metrics` answers. Labels have
few values by construction: the names of destinations, ways in, outcomes and reasons that the code knows. None of them
is ever an id, or anything that a producer or a destination says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple


class Measure(NamedTuple):
    """What is the same of a metric each time that it is read."""

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()


class Family(NamedTuple):
    """A metric as it is at one moment: a value for each set of labels."""

    name: str
    """A key of `MEASURES`."""
    samples: Sequence[tuple[tuple[str, ...], float]]
    """The values of the labels, in the order of the measure's, and the value."""


_OF_DESTINATION = ("destination",)

MEASURES: Final = {
    # --- the account of each destination: kept in the queue, so it goes on across restarts -------
    "forwarder_events_accepted_total": Measure("counter", "Events that were accepted.", _OF_DESTINATION),
    "forwarder_events_delivered_total": Measure("counter", "Events that the destination took.", _OF_DESTINATION),
    "forwarder_events_died_total": Measure(
        "counter", "Events that became dead letters, each time that one did.", _OF_DESTINATION
    ),
    "forwarder_events_replayed_total": Measure(
        "counter", "Dead letters that were put back into the queue.", _OF_DESTINATION
    ),
    "forwarder_events_dropped_total": Measure(
        "counter", "Events that were dropped by a policy or a purge.", _OF_DESTINATION
    ),
    "forwarder_events_queued": Measure("gauge", "Events that wait or are being sent.", _OF_DESTINATION),
    "forwarder_events_dead": Measure("gauge", "Dead letters that are kept.", _OF_DESTINATION),
    "forwarder_events_set_aside": Measure(
        "gauge", "Queued events that were refused or failed alone, and are tried again by themselves.", _OF_DESTINATION
    ),
    "forwarder_queue_oldest_age_seconds": Measure(
        "gauge", "How long the oldest queued event has waited; 0 where none waits.", _OF_DESTINATION
    ),
    # --- deliveries ------------------------------------------------------------------------------
    "forwarder_destination_state": Measure(
        "gauge", "1 for the state that a destination is in, 0 for the others.", ("destination", "state")
    ),
    "forwarder_delivery_attempts_total": Measure(
        "counter", "Batches that were sent, by what became of them.", ("destination", "outcome")
    ),
    "forwarder_delivery_duration_seconds": Measure(
        "histogram", "From the beginning of an attempt until its answer.", _OF_DESTINATION
    ),
    "forwarder_batch_events": Measure("histogram", "Events in a batch that was taken.", _OF_DESTINATION),
    "forwarder_batches_sent_again_total": Measure(
        "counter",
        "Batches since the start that may have been taken but were not answered: duplicates are possible.",
        _OF_DESTINATION,
    ),
    "forwarder_last_success_timestamp_seconds": Measure(
        "gauge", "When the destination last took a batch since the start, in seconds since 1970.", _OF_DESTINATION
    ),
    "forwarder_certificate_expiry_seconds": Measure(
        "gauge",
        "When the first of the certificates for the way to the destination ends, in seconds since 1970.",
        _OF_DESTINATION,
    ),
    # --- the way in ------------------------------------------------------------------------------
    "forwarder_intake_events_total": Measure(
        "counter", "Events that were accepted since the start, whatever the number of their destinations.", ("way",)
    ),
    "forwarder_intake_bytes_total": Measure("counter", "Bytes of these events.", ("way",)),
    "forwarder_events_refused_total": Measure(
        "counter",
        "Requests over HTTP, and lines over the stream, refused since the start.",
        ("way", "reason"),
    ),
    "forwarder_accept_duration_seconds": Measure(
        "histogram", "From the end of the checks until what came together was durable.", ("way",)
    ),
    "forwarder_connections": Measure("gauge", "Connections of clients that are open.", ("way",)),
    "forwarder_connections_refused_total": Measure(
        "counter", "Connections that were refused since the start, for want of open files.", ("way",)
    ),
    # --- the queue -------------------------------------------------------------------------------
    "forwarder_commit_duration_seconds": Measure(
        "histogram", "From the beginning of a transaction until it was synced to disk."
    ),
    "forwarder_queue_bytes": Measure(
        "gauge",
        "How many bytes of the queue's bound are in use, its log and its reserve in proportion: all of them when "
        "nothing more fits.",
    ),
    "forwarder_queue_max_bytes": Measure("gauge", "The queue's bound: the most that it may take on disk, in bytes."),
    "forwarder_queue_full": Measure("gauge", "1 while the queue refuses or holds back producers."),
    "forwarder_queue_full_in_seconds": Measure(
        "gauge", "Until the queue is full, at the rate of the last minutes; missing while it does not grow."
    ),
    "forwarder_disk_free_bytes": Measure("gauge", "Bytes that are free on the disk of the queue."),
    # --- the process -----------------------------------------------------------------------------
    "forwarder_ready": Measure("gauge", "1 while events can be accepted."),
    "forwarder_condition": Measure(
        "gauge",
        "1 for each warning of the status: the key of its line in the log, and the destination it is about, if any.",
        ("key", "destination"),
    ),
    "forwarder_reload_refused": Measure("gauge", "1 while the last reload was refused: the old configuration goes on."),
    "forwarder_loop_lag_seconds": Measure("gauge", "The longest that the event loop was late in the last minute."),
    "forwarder_log_lines_dropped_total": Measure(
        "counter", "Lines of the log that were dropped since the start, as standard error took none."
    ),
    "forwarder_build_info": Measure("gauge", "Always 1.", ("version", "backend")),
}
"""The metrics by their names, in the order in which they are documented."""

# From a commit on a fast disk to a destination that takes minutes.
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
BUCKETS: Final[dict[str, Sequence[float]]] = {
    "forwarder_accept_duration_seconds": _SECONDS,
    "forwarder_commit_duration_seconds": _SECONDS,
    "forwarder_delivery_duration_seconds": _SECONDS,
    "forwarder_batch_events": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000),
}
"""The upper bounds of each histogram."""
