"""Metrics for Prometheus: an observer that counts and measures facts, and writes them beside what the status says.

What the queue knows is not counted again here: those values come with each reading, from the same status that
operators see, so the two cannot contradict each other. What is counted here begins at zero with the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from forwarder.model import Outcome
from forwarder.observe.facts import Accepted, Attempted, Committed, Fact, Notice, Refused, Way
from forwarder.observe.measures import MEASURES, Family
from forwarder.problems import PROBLEMS

# Seconds, from a commit on a fast disk to a destination that takes minutes.
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """Counts facts, on whatever thread they are told, and writes all metrics in the format that is asked for."""

    def __init__(self) -> None:
        # When each series began is of no use to anybody who has `process_start_time_seconds`, and doubles the answer.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._attempts = self._counter("forwarder_delivery_attempts_total")
        self._delivery_seconds = self._histogram("forwarder_delivery_duration_seconds", _SECONDS)
        self._batch_events = self._histogram("forwarder_batch_events", _EVENTS)
        self._intake_events = self._counter("forwarder_intake_events_total")
        self._intake_bytes = self._counter("forwarder_intake_bytes_total")
        self._refused = self._counter("forwarder_events_refused_total")
        self._accept_seconds = self._histogram("forwarder_accept_duration_seconds", _SECONDS)
        self._commit_seconds = self._histogram("forwarder_commit_duration_seconds", _SECONDS)
        # Each series is there from the beginning: one that begins with its first refusal shows no increase.
        for way in get_args(Way):
            for problem in PROBLEMS.values():
                self._refused.labels(way, problem.name)
        self._ways = {
            way: (self._intake_events.labels(way), self._intake_bytes.labels(way), self._accept_seconds.labels(way))
            for way in get_args(Way)
        }
        self._counted: dict[type, Callable[[Any], None]] = {
            Accepted: self._accepted,
            Refused: self._refuse,
            Committed: self._committed,
            Attempted: self._attempted,
            Notice: self._noticed,
        }

    def _counter(self, name: str) -> Counter:
        measure = MEASURES[name]
        return Counter(name, measure.meaning, measure.labels, registry=self._registry)

    def _histogram(self, name: str, buckets: Sequence[float]) -> Histogram:
        measure = MEASURES[name]
        return Histogram(name, measure.meaning, measure.labels, registry=self._registry, buckets=buckets)

    # --- counting ------------------------------------------------------------------------------

    def saw(self, fact: Fact) -> None:
        """Count a fact, if there is a metric for it."""
        count = self._counted.get(type(fact))
        if count is not None:
            count(fact)

    def _accepted(self, fact: Accepted) -> None:
        events, size, seconds = self._ways[fact.way]
        events.inc(fact.events)
        size.inc(fact.bytes)
        seconds.observe(fact.seconds)

    def _refuse(self, fact: Refused) -> None:
        self._refused.labels(fact.way, fact.problem).inc(fact.number)

    def _committed(self, fact: Committed) -> None:
        self._commit_seconds.observe(fact.seconds)

    def _attempted(self, fact: Attempted) -> None:
        self._attempts.labels(fact.destination, fact.outcome.value).inc()
        self._delivery_seconds.labels(fact.destination).observe(fact.seconds)
        if fact.outcome is Outcome.DELIVERED:
            self._batch_events.labels(fact.destination).observe(fact.events)

    def _noticed(self, fact: Notice) -> None:
        """Forget a destination that is no longer configured, so that what is kept does not grow with each reload."""
        if fact.key != "destination.removed":
            return
        about = {"destination": fact.details["destination"]}
        self._attempts.remove_by_labels(about)
        self._delivery_seconds.remove_by_labels(about)
        self._batch_events.remove_by_labels(about)

    # --- writing -------------------------------------------------------------------------------

    def render(self, families: Sequence[Family], accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their media type: OpenMetrics where the `Accept` header asks for it, else plain text.

        It takes milliseconds for each hundred destinations, and may be called from any thread.
        """
        write, media_type = choose_encoder(accept)
        return write(_Both(self._registry, families)), media_type


class _Both:
    """What was counted here, and what the status says."""

    def __init__(self, registry: CollectorRegistry, families: Sequence[Family]) -> None:
        self._registry = registry
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples."""
        for name, samples in self._families:
            measure = MEASURES[name]
            kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
            family = kind(name, measure.meaning, labels=measure.labels)
            for labels, value in samples:
                family.add_metric(labels, value)
            yield family
        yield from self._registry.collect()
