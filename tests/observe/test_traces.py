"""A batch is a span with its steps; it continues the trace of the request that brought its events."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from forwarder.model import Burial, Outcome, Slice
from forwarder.observe import traces as module
from forwarder.observe.facts import Attempted, Leased, Prepared, Settled, Traced
from forwarder.observe.traces import Traces

ONE, OTHER = 0x0AF7651916CD43DD8448EB211C80319C, 0x1AF7651916CD43DD8448EB211C80319C


def header(trace: int, flags: int = 1) -> str:
    return f"00-{trace:032x}-b7ad6b7169203331-{flags:02x}"


class Recorded:
    """Traces, and the spans that they made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = Traces(provider.get_tracer("test"))

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def traced(self, position: int, events: int, trace: int, *, destination: str = "main", flags: int = 1) -> None:
        """Tell that a request brought events."""
        self.traces.saw(Traced(header(trace, flags), destination, position, events))

    def lease(self, *slices: tuple[int, int]) -> None:
        """Lease a batch."""
        self.traces.saw(Leased("main", [Slice(position, events, 0.0) for position, events in slices], 0.001))

    def deliver(self, position: int = 0, events: int = 1) -> None:
        """Take a leased batch to its settlement."""
        self.traces.saw(Prepared("main", position, 0.01))
        self.traces.saw(Attempted("main", position, Outcome.DEFERRED, events, 10, 0.5, 503))
        self.traces.saw(Attempted("main", position, Outcome.DELIVERED, events, 10, 0.5, 200))
        self.traces.saw(Settled("main", events, position=position, seconds=0.002))


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def links_of(span: ReadableSpan) -> list[int]:
    return [link.context.trace_id for link in span.links]


def test_the_steps_of_a_batch() -> None:
    """Lease, sign, each attempt and the settlement are spans inside that of the batch, as long as they took."""
    recorded = Recorded()
    recorded.lease((0, 2))
    recorded.deliver(0, 2)
    [batch] = recorded.spans("deliver main")
    assert batch.parent is None
    assert batch.attributes is not None
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert batch.attributes["forwarder.outcome"] == "delivered"
    assert batch.status.status_code is StatusCode.UNSET
    steps = {name: recorded.spans(name) for name in ("lease", "sign", "attempt", "settle")}
    assert [len(spans) for spans in steps.values()] == [1, 1, 2, 1]
    for spans in steps.values():
        for span in spans:
            assert span.parent is not None
            assert batch.context is not None
            assert span.parent.span_id == batch.context.span_id
    refused, taken = steps["attempt"]
    assert refused.status.status_code is StatusCode.ERROR
    assert taken.attributes is not None
    assert taken.attributes["http.response.status_code"] == 200
    assert taken.end_time is not None
    assert taken.start_time is not None
    assert (taken.end_time - taken.start_time) / 1e9 >= 0.5


def test_a_batch_continues_the_trace_of_its_request() -> None:
    """All of a batch came with one request: its span is inside that request's trace."""
    recorded = Recorded()
    recorded.traced(0, 3, ONE)
    recorded.lease((0, 2))
    recorded.deliver(0, 2)
    recorded.lease((2, 1))
    recorded.deliver(2, 1)
    assert [trace_of(span) for span in recorded.spans("deliver main")] == [ONE, ONE]
    assert {trace_of(span) for span in recorded.spans("attempt")} == {ONE}


def test_a_batch_of_several_requests_is_linked_to_all() -> None:
    """It has a trace of its own, linked to each; and each request's trace says when its events were delivered."""
    recorded = Recorded()
    recorded.traced(0, 1, ONE)
    recorded.traced(1, 1, OTHER)
    recorded.lease((0, 2))
    recorded.deliver(0, 2)
    of_one, of_other, batch = sorted(recorded.spans("deliver main"), key=lambda span: len(span.links))
    assert links_of(batch) == [ONE, OTHER]
    assert trace_of(batch) not in {ONE, OTHER}
    assert {trace_of(of_one), trace_of(of_other)} == {ONE, OTHER}
    assert links_of(of_one) == links_of(of_other) == [trace_of(batch)]


@pytest.mark.parametrize("text", ["", "nonsense", "00-0-0-0", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_header_that_is_none(text: str) -> None:
    """What a client sends in place of a header is ignored, as the specification wants."""
    recorded = Recorded()
    recorded.traces.saw(Traced(text, "main", 0, 1))
    recorded.lease((0, 1))
    recorded.deliver()
    [batch] = recorded.spans("deliver main")
    assert batch.parent is None
    assert not batch.links


def test_a_trace_that_is_not_sampled() -> None:
    """Its owner does not want it: no span is sent for it."""
    recorded = Recorded()
    recorded.traced(0, 1, ONE, flags=0)
    recorded.lease((0, 1))
    recorded.deliver()
    assert not recorded.spans("deliver main")


def test_requests_of_other_positions_and_destinations() -> None:
    """Only events of the batch count: not those in front of it, behind it, or of another destination."""
    recorded = Recorded()
    recorded.traced(0, 5, ONE)
    recorded.traced(7, 3, ONE)
    recorded.traced(5, 2, ONE, destination="audit")
    recorded.lease((5, 2))
    recorded.deliver(5, 2)
    [batch] = recorded.spans("deliver main")
    assert batch.parent is None
    assert not batch.links


def test_a_burial() -> None:
    """Events that die end their batch as an error, with the reason."""
    recorded = Recorded()
    recorded.lease((0, 1))
    recorded.traces.saw(Settled("main", 1, Burial("rejected", 400, "no"), position=0))
    [batch] = recorded.spans("deliver main")
    assert batch.status.status_code is StatusCode.ERROR
    assert batch.status.description == "rejected"


def test_a_batch_that_goes_back_is_leased_again() -> None:
    """The first span ends as released, the second one as delivered."""
    recorded = Recorded()
    recorded.lease((0, 1))
    recorded.lease((0, 1))
    recorded.deliver()
    outcomes = [(span.attributes or {})["forwarder.outcome"] for span in recorded.spans("deliver main")]
    assert outcomes == ["released", "delivered"]


def test_what_is_under_way_at_the_end() -> None:
    """A stop ends all spans."""
    recorded = Recorded()
    recorded.lease((0, 1))
    recorded.traces.end_all()
    [batch] = recorded.spans("deliver main")
    assert (batch.attributes or {})["forwarder.outcome"] == "released"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many requests that wait, the oldest are forgotten; of very many batches, their spans end."""
    monkeypatch.setattr(module, "_MOST_REQUESTS", 10)
    monkeypatch.setattr(module, "_MOST_BATCHES", 10)
    recorded = Recorded()
    for position in range(100):
        recorded.traced(position, 1, ONE)
        recorded.lease((position, 1))
    assert len(recorded.spans("deliver main")) == 90
    recorded.lease((5, 1))
    recorded.traces.end_all()
    last = recorded.spans("deliver main")[-1]
    assert last.parent is None


def test_what_was_delivered_is_forgotten() -> None:
    """The requests of settled batches take no room, however long it runs."""
    recorded = Recorded()
    for position in range(1000):
        recorded.traced(position, 1, ONE)
        recorded.lease((position, 1))
        recorded.deliver(position)
    recorded.lease((0, 1000))
    recorded.traces.end_all()
    assert not recorded.spans("deliver main")[-1].links
    assert recorded.spans("deliver main")[-1].parent is None
