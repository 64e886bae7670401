"""Traces for OpenTelemetry: a span for each batch, from its lease to its settlement, and one in each producer's trace.

A batch holds events of many requests, and a span has one parent only. So where all the traced events of a batch belong
to one trace, the batch continues it; where they belong to several, the batch begins a trace of its own, linked to all
of them, and each of them gets a span that says when its events were delivered, linked to the batch.

Which request brought which events is remembered in memory, within bounds: it is forgotten at a restart, and of the
oldest requests where very many wait.
"""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections import OrderedDict
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from forwarder.model import Outcome
from forwarder.observe.facts import Attempted, Fact, Leased, Prepared, Settled, Traced

# Requests that are remembered, batches that are under way, and links of one batch.
_MOST_REQUESTS: Final = 10_000
_MOST_BATCHES: Final = 1_000
_MOST_LINKS: Final = 128

_read_header = TraceContextTextMapPropagator().extract


class _Origin(NamedTuple):
    """Where the events at some positions of a destination came from."""

    position: int
    until: int
    context: SpanContext


class _UnderWay(NamedTuple):
    """A batch that is under way: its span, and the requests that are traced by themselves."""

    span: Span
    origins: tuple[_Origin, ...]
    leased_at: int


class Traces:
    """Makes spans of facts; `tracer` is OpenTelemetry's."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._origins: dict[str, list[_Origin]] = {}
        self._batches: OrderedDict[tuple[str, int], _UnderWay] = OrderedDict()

    def saw(self, fact: Fact) -> None:
        """Make what spans there are of a fact."""
        match fact:
            case Traced():
                self._remember(fact)
            case Leased():
                self._leased(fact)
            case Prepared():
                self._step("sign", fact.destination, fact.position, fact.seconds)
            case Attempted():
                self._attempted(fact)
            case Settled(position=int(position)):
                self._settled(fact, position)

    # --- where events came from ----------------------------------------------------------------

    def _remember(self, fact: Traced) -> None:
        # What is no valid header gives an empty context, as the specification wants it.
        context = trace.get_current_span(_read_header({"traceparent": fact.traceparent}, Context())).get_span_context()
        if not context.is_valid:
            return
        origins = self._origins.setdefault(fact.destination, [])
        # A context cannot be compared, and need not be: no two requests have the same position.
        insort(origins, _Origin(fact.position, fact.position + fact.events, context), key=_position_of)
        if len(origins) > _MOST_REQUESTS:
            del origins[0]

    def _origins_of(self, destination: str, position: int, events: int) -> list[_Origin]:
        """Return where the events from a position on came from, as far as that is known."""
        origins = self._origins.get(destination, [])
        # The one before may reach into it; no two overlap.
        first = max(0, bisect_right(origins, position, key=_position_of) - 1)
        found = []
        # Not a copy of the rest: there may be thousands of them, and a batch may have a thousand slices.
        for index in range(first, len(origins)):
            origin = origins[index]
            if origin.position >= position + events:
                break
            if origin.until > position:
                found.append(origin)
        return found

    # --- the way of a batch --------------------------------------------------------------------

    def _leased(self, fact: Leased) -> None:
        now = time.time_ns()
        origins: dict[tuple[int, int], _Origin] = {}
        for position, events, _accepted_at in fact.slices:
            for origin in self._origins_of(fact.destination, position, events):
                origins.setdefault((origin.context.trace_id, origin.context.span_id), origin)
        found = tuple(origins.values())[:_MOST_LINKS]
        alone = len(found) == 1
        began = now - round(fact.seconds * 1e9)
        span = self._tracer.start_span(
            f"deliver {fact.destination}",
            context=_inside(found[0].context) if alone else Context(),
            links=None if alone else [Link(origin.context) for origin in found],
            start_time=began,
            attributes={
                "forwarder.destination": fact.destination,
                "forwarder.position": fact.slices[0].position,
                "messaging.batch.message_count": sum(part.events for part in fact.slices),
            },
        )
        self._end(fact.destination, fact.slices[0].position, "released")
        self._batches[fact.destination, fact.slices[0].position] = _UnderWay(span, () if alone else found, began)
        self._step("lease", fact.destination, fact.slices[0].position, fact.seconds)
        if len(self._batches) > _MOST_BATCHES:
            self._end(*next(iter(self._batches)), "forgotten")

    def _step(
        self, name: str, destination: str, position: int, seconds: float, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        """Add a span that ends now to a batch; where the batch is not known, it stands alone."""
        under_way = self._batches.get((destination, position))
        now = time.time_ns()
        span = self._tracer.start_span(
            name,
            context=Context() if under_way is None else trace.set_span_in_context(under_way.span, Context()),
            start_time=now - round(seconds * 1e9),
            kind=kind,
            attributes={"forwarder.destination": destination},
        )
        if name != "attempt":
            span.end(now)
        return span

    def _attempted(self, fact: Attempted) -> None:
        span = self._step("attempt", fact.destination, fact.position, fact.seconds, SpanKind.CLIENT)
        span.set_attribute("forwarder.outcome", fact.outcome.value)
        span.set_attribute("messaging.batch.message_count", fact.events)
        if fact.status is not None:
            span.set_attribute("http.response.status_code", fact.status)
        if fact.outcome is not Outcome.DELIVERED:
            span.set_status(Status(StatusCode.ERROR, fact.outcome.value))
        span.end()

    def _settled(self, fact: Settled, position: int) -> None:
        if (fact.destination, position) not in self._batches:
            return
        self._step("settle", fact.destination, position, fact.seconds)
        self._end(fact.destination, position, "delivered" if fact.burial is None else fact.burial.reason)
        origins = self._origins.get(fact.destination, [])
        # In order, nearly all that is behind is settled, too; what is in front of it is remembered a while longer.
        while origins and origins[0].until <= position + fact.events:
            del origins[0]

    def _end(self, destination: str, position: int, outcome: str) -> None:
        under_way = self._batches.pop((destination, position), None)
        if under_way is None:
            return
        batch = under_way.span.get_span_context()
        for origin in under_way.origins:
            span = self._tracer.start_span(
                f"deliver {destination}",
                context=_inside(origin.context),
                links=[Link(batch)],
                start_time=under_way.leased_at,
                attributes={"forwarder.destination": destination, "forwarder.outcome": outcome},
            )
            _judge(span, outcome)
            span.end()
        under_way.span.set_attribute("forwarder.outcome", outcome)
        _judge(under_way.span, outcome)
        under_way.span.end()

    def end_all(self) -> None:
        """End the spans of what is still under way, at a stop."""
        for destination, position in list(self._batches):
            self._end(destination, position, "released")


def _position_of(origin: _Origin) -> int:
    return origin.position


def _judge(span: Span, outcome: str) -> None:
    if outcome not in {"delivered", "released"}:
        span.set_status(Status(StatusCode.ERROR, outcome))


def _inside(context: SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
