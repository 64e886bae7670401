"""Facts are counted and measured, and written as Prometheus and OpenMetrics want it."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from forwarder.model import Outcome, State
from forwarder.observe.facts import Accepted, Attempted, Committed, Fact, Notice, Refused, Settled, StateChanged
from forwarder.observe.measures import MEASURES, Family
from forwarder.observe.metrics import Metrics

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def samples(metrics: Metrics, *families: Family) -> dict[str, float]:
    """Return every sample of ours as Prometheus reads it, by its name and labels."""
    body, _media_type = metrics.render(families, "")
    found: dict[str, float] = {}
    for family in read_text(body.decode()):
        for sample in family.samples:
            labels = ",".join(sample.labels[label] for label in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            [Accepted("http", 3, 1, 300, 0.004), Accepted("http", 2, 0, 200, 0.3)],
            {
                "forwarder_intake_events_total{http}": 5,
                "forwarder_intake_bytes_total{http}": 500,
                "forwarder_intake_events_total{stream}": 0,
                "forwarder_accept_duration_seconds_count{http}": 2,
                "forwarder_accept_duration_seconds_bucket{0.005,http}": 1,
                "forwarder_accept_duration_seconds_bucket{0.5,http}": 2,
            },
        ),
        (
            [Refused("stream", "invalid-event", 7), Refused("stream", "invalid-event", 1), Refused("http", "x", 1)],
            {
                "forwarder_events_refused_total{invalid-event,stream}": 8,
                "forwarder_events_refused_total{x,http}": 1,
            },
        ),
        (
            [Committed(10, 100, 0.0002), Committed(0, 0, 12.0)],
            {
                "forwarder_commit_duration_seconds_count{}": 2,
                "forwarder_commit_duration_seconds_bucket{0.0005}": 1,
                "forwarder_commit_duration_seconds_bucket{30.0}": 2,
            },
        ),
        (
            [
                Attempted("main", 0, Outcome.DELIVERED, 1000, 4000, 0.2, 200),
                Attempted("main", 0, Outcome.DEFERRED, 1000, 4000, 30.0, None),
            ],
            {
                "forwarder_delivery_attempts_total{main,delivered}": 1,
                "forwarder_delivery_attempts_total{main,deferred}": 1,
                "forwarder_delivery_duration_seconds_count{main}": 2,
                "forwarder_batch_events_sum{main}": 1000,
            },
        ),
    ],
)
def test_a_fact_is_counted(facts: list[Fact], expected: dict[str, float]) -> None:
    """Each fact moves the metrics that it is about."""
    metrics = Metrics()
    for fact in facts:
        metrics.saw(fact)
    found = samples(metrics)
    assert {name: found.get(name) for name in expected} == expected


def test_what_came_in_by_each_way() -> None:
    """The status says of each way what the metrics say: events, what was refused for whatever reason, bytes."""
    metrics = Metrics()
    for fact in (
        Accepted("http", 3, 1, 300, 0.1),
        Accepted("http", 2, 0, 200, 0.1),
        Refused("stream", "invalid-event", 7),
        Refused("stream", "queue-full", 1),
    ):
        metrics.saw(fact)
    assert metrics.came_in("http") == (5, 0, 500)
    assert metrics.came_in("stream") == (0, 8, 0)


def test_what_the_status_says_is_written_as_it_is() -> None:
    """Values that come with a reading stand beside those that were counted; other facts change nothing."""
    metrics = Metrics()
    before = samples(metrics)
    metrics.saw(Settled("main", 3))
    metrics.saw(StateChanged("main", State.HOLDING))
    assert samples(metrics).keys() == before.keys()
    found = samples(
        metrics,
        Family("forwarder_events_accepted_total", [(("main",), 12), (("audit",), 0)]),
        Family("forwarder_queue_bytes", [((), 4096)]),
    )
    assert found["forwarder_events_accepted_total{main}"] == 12
    assert found["forwarder_events_accepted_total{audit}"] == 0
    assert found["forwarder_queue_bytes{}"] == 4096


def test_a_destination_that_is_gone_is_forgotten() -> None:
    """However often destinations are renamed, there are no more series than destinations that are configured."""
    metrics = Metrics()
    for name in ("gone", "here"):
        metrics.saw(Attempted(name, 0, Outcome.DELIVERED, 1, 1, 0.1, 200))
    metrics.saw(Notice("destination.removed", {"destination": "gone"}))
    found = samples(metrics)
    assert not [name for name in found if "gone" in name]
    assert found["forwarder_delivery_attempts_total{here,delivered}"] == 1


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", "text/html", "application/openmetrics-text;version=0.0.0"])
def test_plain_text_unless_open_metrics_is_asked_for(accept: str) -> None:
    """Whatever else is asked for, the answer is the text that every scraper reads."""
    body, media_type = Metrics().render([], accept)
    assert media_type.startswith("text/plain")
    assert "# EOF" not in body.decode()


def test_open_metrics() -> None:
    """Prometheus' own header is answered with OpenMetrics, which its own parser accepts, `# EOF` and all."""
    metrics = Metrics()
    metrics.saw(Accepted("http", 3, 0, 300, 0.004))
    body, media_type = metrics.render([Family("forwarder_events_dead", [(("main",), 2)])], OPEN)
    assert media_type.startswith("application/openmetrics-text")
    found = read_open_metrics(body.decode())  # type: ignore[no-untyped-call]
    families = {family.name: family for family in found}
    assert families["forwarder_events_dead"].samples[0].value == 2
    assert families["forwarder_intake_events"].type == "counter"


def test_every_metric_that_is_counted_is_in_the_table() -> None:
    """Nothing is written that is not documented, but for what is said of every process."""
    metrics = Metrics()
    body, _media_type = metrics.render([], "")
    names = {family.name for family in read_text(body.decode())}
    known = {name.removesuffix("_total") for name in MEASURES}
    assert {name for name in names if not name.startswith("process_")} <= known


def test_many_threads_count() -> None:
    """The queue tells of its commits on a thread of its own; nothing of it is lost."""
    metrics = Metrics()

    def tell() -> None:
        for _ in range(1000):
            metrics.saw(Committed(1, 1, 0.001))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples(metrics)["forwarder_commit_duration_seconds_count{}"] == 4000
