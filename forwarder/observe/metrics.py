"""Metrics for Prometheus: an observer that counts and measures facts, and writes them beside what the status says.

What the queue knows is not counted again here: those values come with each reading, from the same status that
operators see, so the two cannot contradict each other. What is counted here begins at zero with the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from forwarder.observe.facts import Fact, Notice, Way
from forwarder.observe.measures import BUCKETS, MEASURES, Family
from forwarder.observe.tally import COUNTED, tally
from forwarder.problems import PROBLEMS


class Metrics:
    """Counts facts, on whatever thread they are told, and writes all metrics in the format that is asked for."""

    def __init__(self) -> None:
        # When each series began is of no use to anybody who has `process_start_time_seconds`, and doubles the answer.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._metrics = {name: self._make(name) for name in COUNTED}
        # How to add to each series that there is: looking it up here costs a tenth of asking the client for it.
        self._series: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}
        # These are there from the beginning: where a series begins with its first event, no increase can be seen.
        for way in get_args(Way):
            for name in COUNTED:
                if MEASURES[name].labels == ("way",):
                    self._add_to(name, (way,))
            for problem in PROBLEMS.values():
                self._add_to("forwarder_events_refused_total", (way, problem.name))

    def _make(self, name: str) -> Counter | Histogram:
        measure = MEASURES[name]
        if measure.kind == "counter":
            return Counter(name, measure.meaning, measure.labels, registry=self._registry)
        return Histogram(name, measure.meaning, measure.labels, registry=self._registry, buckets=BUCKETS[name])

    # --- counting ------------------------------------------------------------------------------

    def saw(self, fact: Fact) -> None:
        """Count a fact, if there is a metric for it."""
        for name, labels, value in tally(fact):
            (self._series.get((name, labels)) or self._add_to(name, labels))(value)
        if isinstance(fact, Notice) and fact.key == "destination.removed":
            self._forget(fact.details["destination"])

    def _add_to(self, name: str, labels: tuple[str, ...]) -> Callable[[float], None]:
        metric = self._metrics[name]
        child = metric.labels(*labels) if labels else metric
        add = self._series[name, labels] = child.inc if isinstance(child, Counter) else child.observe
        return add

    def _forget(self, destination: str) -> None:
        """Forget a destination that is no longer configured, so that what is kept does not grow with each reload."""
        for name, labels in list(self._series):
            if MEASURES[name].labels[:1] == ("destination",) and labels[0] == destination:
                del self._series[name, labels]
                self._metrics[name].remove(*labels)

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
