"""Metrics for Prometheus: an observer that counts and measures facts, and writes them beside what the status says.

What the queue knows is not counted again here: those values come with each reading, from the same status that
operators see, so the two cannot contradict each other. What is counted here begins at zero with the process.

Counting is on the way of every request, and is done here, in a few dictionaries: the objects of Prometheus' client cost
five times as much. The client writes what was counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from forwarder.observe.facts import Fact, Notice, Way
from forwarder.observe.measures import BUCKETS, MEASURES, Family
from forwarder.observe.tally import COUNTED, Measured, tally
from forwarder.problems import PROBLEMS

Labels = tuple[str, ...]


@dataclass(slots=True)
class _Values:
    """What a histogram has been told."""

    counts: list[int]
    """How many there were in each bucket, and above all of them."""
    total: float = 0.0


@dataclass(slots=True)
class _Counted:
    """One metric: a number, or a histogram, for each set of labels."""

    bounds: Sequence[float] = ()
    numbers: dict[Labels, float] = field(default_factory=dict)
    histograms: dict[Labels, _Values] = field(default_factory=dict)

    def add(self, labels: Labels, value: float) -> None:
        """Add to a number, or take a value into a histogram."""
        if not self.bounds:
            self.numbers[labels] = self.numbers.get(labels, 0) + value
            return
        values = self.histograms.get(labels)
        if values is None:
            values = self.histograms[labels] = _Values([0] * (len(self.bounds) + 1))
        values.counts[bisect_left(self.bounds, value)] += 1
        values.total += value

    def forget(self, labels: Labels) -> None:
        """Forget a set of labels."""
        self.numbers.pop(labels, None)
        self.histograms.pop(labels, None)


class Metrics:
    """Counts facts, on whatever thread they are told, and writes all metrics in the format that is asked for."""

    def __init__(self) -> None:
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._lock = Lock()
        self._counted = {name: _Counted(BUCKETS.get(name, ())) for name in COUNTED}
        # These are there from the beginning: where a series begins with its first event, no increase can be seen.
        for way in get_args(Way):
            for problem in PROBLEMS.values():
                self._counted["forwarder_events_refused_total"].add((way, problem.name), 0)
            for name in ("forwarder_intake_events_total", "forwarder_intake_bytes_total"):
                self._counted[name].add((way,), 0)

    # --- counting ------------------------------------------------------------------------------

    def saw(self, fact: Fact) -> None:
        """Count a fact, if there is a metric for it."""
        if found := tally(fact):
            self._add(found)
        elif isinstance(fact, Notice) and fact.key == "destination.removed":
            self._forget(fact.details["destination"])

    def _add(self, found: list[Measured]) -> None:
        with self._lock:
            for name, labels, value in found:
                self._counted[name].add(labels, value)

    def _forget(self, destination: str) -> None:
        """Forget a destination that is no longer configured, so that what is kept does not grow with each reload."""
        with self._lock:
            for name, counted in self._counted.items():
                if MEASURES[name].labels[:1] == ("destination",):
                    for labels in [*counted.numbers, *counted.histograms]:
                        if labels[0] == destination:
                            counted.forget(labels)

    def came_in(self, way: Way) -> tuple[int, int, int]:
        """Return what came in by a way since the start: events accepted, requests or lines refused, bytes accepted."""
        with self._lock:
            refused = self._counted["forwarder_events_refused_total"].numbers
            return (
                int(self._counted["forwarder_intake_events_total"].numbers[way,]),
                int(sum(number for labels, number in refused.items() if labels[0] == way)),
                int(self._counted["forwarder_intake_bytes_total"].numbers[way,]),
            )

    # --- writing -------------------------------------------------------------------------------

    def render(self, families: Sequence[Family], accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their media type: OpenMetrics where the `Accept` header asks for it, else plain text.

        It takes milliseconds for each hundred destinations, and may be called from any thread.
        """
        write, media_type = choose_encoder(accept)
        with self._lock:
            counted = [_family(name, found) for name, found in self._counted.items()]
        return write(_All([*map(_read, families), *counted, *self._process.collect()])), media_type


@dataclass(frozen=True, slots=True)
class _All:
    """Every metric with its samples, as the client's writers want it."""

    metrics: Sequence[Metric]

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        return iter(self.metrics)


def _read(family: Family) -> Metric:
    """Return a metric that was read off the status."""
    measure = MEASURES[family.name]
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    found = kind(family.name, measure.meaning, labels=measure.labels)
    for labels, value in family.samples:
        found.add_metric(labels, value)
    return found


def _family(name: str, counted: _Counted) -> Metric:
    """Return a metric that was counted here."""
    measure = MEASURES[name]
    if not counted.bounds:
        return _read(Family(name, list(counted.numbers.items())))
    found = HistogramMetricFamily(name, measure.meaning, labels=measure.labels)
    for labels, values in counted.histograms.items():
        bounds = [*map(str, map(float, counted.bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(values.counts), strict=True))
        found.add_metric(labels, buckets, sum_value=values.total)
    return found
