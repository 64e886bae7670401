"""OpenTelemetry: metrics and traces, sent over OTLP/HTTP to a collector.

This is imported only where `otel.endpoint` is set. The exporters work on threads of their own: a collector that is slow
or gone costs events nothing, and what it cannot take is dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from forwarder import __version__
from forwarder.config import OtelConfig
from forwarder.observe.facts import Fact
from forwarder.observe.measures import BUCKETS, MEASURES, Family
from forwarder.observe.tally import COUNTED, tally
from forwarder.observe.traces import Traces

# Seconds that a request to the collector may take, and that the end of the process waits for the last of them.
_TIMEOUT: Final = 10.0
_END_SECONDS: Final = 5.0
_UNITS: Final = {"_seconds": "s", "_bytes": "By"}


class Telemetry:
    """An observer that counts facts and makes spans of them; `update` brings what the status says."""

    def __init__(self, config: OtelConfig) -> None:
        resource = Resource.create(
            {
                "service.name": config.service_name,
                "service.version": __version__,
                "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
            }
        )
        address = (config.endpoint or "").rstrip("/")
        how: dict[str, Any] = {
            "headers": dict(config.headers),
            "timeout": _TIMEOUT,
            "certificate_file": None if config.ca_file is None else str(config.ca_file),
        }
        self._tracing = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.trace_ratio)), resource=resource, shutdown_on_exit=False
        )
        self._exporters = (
            OTLPSpanExporter(f"{address}/v1/traces", **how),
            OTLPMetricExporter(f"{address}/v1/metrics", **how),
        )
        self._tracing.add_span_processor(BatchSpanProcessor(self._exporters[0]))
        reader = PeriodicExportingMetricReader(self._exporters[1], export_interval_millis=config.interval * 1000)
        self._metering = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._metering.get_meter("forwarder", __version__)
        self._traces = Traces(self._tracing.get_tracer("forwarder", __version__))
        self._counted = {name: _instrument(meter, name) for name in COUNTED}
        self._families: Mapping[str, Family] = {}
        for name in MEASURES.keys() - self._counted.keys():
            self._observe(meter, name)

    def _observe(self, meter: Meter, name: str) -> None:
        """Have a metric asked for that is read off the status."""
        measure = MEASURES[name]

        def read(_options: CallbackOptions) -> Iterable[Observation]:
            family = self._families.get(name)
            for labels, value in family.samples if family is not None else ():
                yield Observation(value, dict(zip(measure.labels, labels, strict=True)))

        make = meter.create_observable_counter if measure.kind == "counter" else meter.create_observable_gauge
        make(_name(name), [read], _unit(name), measure.meaning)

    def saw(self, fact: Fact) -> None:
        """Count a fact, and make spans of it."""
        for name, labels, value in tally(fact):
            instrument, attributes = self._counted[name], dict(zip(MEASURES[name].labels, labels, strict=True))
            if isinstance(instrument, Counter):
                instrument.add(value, attributes)
            else:
                instrument.record(value, attributes)
        self._traces.saw(fact)

    def update(self, families: Sequence[Family]) -> None:
        """Take note of what the status says now: it is what is sent until the next time."""
        self._families = {family.name: family for family in families}

    def close(self) -> None:
        """Send what is left, for a few seconds; what the collector does not take by then is dropped."""
        self._traces.end_all()

        def end() -> None:
            self._tracing.shutdown()
            self._metering.shutdown(_END_SECONDS * 1000)

        # A collector that does not answer must not keep the process: nothing of this is an event.
        ending = threading.Thread(target=end, name="otel-end", daemon=True)
        ending.start()
        ending.join(_END_SECONDS)
        for exporter in self._exporters if ending.is_alive() else ():
            # It gives up what it would try again.
            exporter.shutdown()


def _instrument(meter: Meter, name: str) -> Counter | Histogram:
    measure = MEASURES[name]
    if measure.kind == "counter":
        return meter.create_counter(_name(name), _unit(name), measure.meaning)
    buckets = list(BUCKETS[name])
    return meter.create_histogram(
        _name(name), _unit(name), measure.meaning, explicit_bucket_boundaries_advisory=buckets
    )


def _name(name: str) -> str:
    # Whoever stores counters for Prometheus adds the suffix again.
    return name.removesuffix("_total")


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if _name(name).endswith(suffix)), "1")
