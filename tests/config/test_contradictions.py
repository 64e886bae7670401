"""Settings that contradict each other."""

from __future__ import annotations

import pytest

from tests.config.cases import CONTRADICTIONS
from tests.config.conftest import DESTINATION, Load, Refuse

MAIN = [
    (
        "retry: {initial: 6min}",
        "retry.initial",
        "6min is more than retry.max (5min)",
        "lower the one or raise the other",
    ),
    ("retry: {max: 10ms}", "retry.initial", "1s is more than retry.max (10ms)", "cannot be longer than the longest"),
    ("tls: {cert_file: /c}", "tls.cert_file", "tls.key_file is not", "Set tls.key_file, too"),
    ("tls: {key_file: /k}", "tls.key_file", "tls.cert_file is not", "Set tls.cert_file, too"),
    ("queue: {max_bytes: 5GiB}", "queue.max_bytes", "5GiB is more than queue.max_bytes (4GiB)", "share must fit"),
]


@pytest.mark.parametrize(
    ("text", "paths", "problem", "remedy"), CONTRADICTIONS, ids=[case[0] for case in CONTRADICTIONS]
)
def test_a_contradiction_is_named_with_both_sides(
    refuse: Refuse, text: str, paths: list[str], problem: str, remedy: str
) -> None:
    """Settings that cannot hold together are refused at the place of one of them, with a way out."""
    found = refuse(f"{text}\n{DESTINATION}")
    assert [each.path for each in found] == paths
    assert problem in found[0].problem
    assert remedy in found[0].remedy


@pytest.mark.parametrize(("text", "path", "problem", "remedy"), MAIN, ids=[case[0] for case in MAIN])
def test_a_contradiction_in_a_destination_is_named(
    refuse: Refuse, text: str, path: str, problem: str, remedy: str
) -> None:
    """The same within a destination."""
    (found,) = refuse(f"{DESTINATION}    {text}\n")
    assert found.path == f"destinations.main.{path}"
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "text",
    [
        "ingest: {http: {listen: []}}",
        "ingest: {stream: {listen: []}}",
        "admin: {listen: []}",
        "ingest: {http: {listen: 'tcp:0.0.0.0:7710'}, token_file: /t}",
        "ingest: {http: {listen: ['tcp:127.0.0.1:0', 'tcp:127.0.0.1:0']}}",
        "admin: {listen: ['tcp:127.0.0.2:7710', 'tcp:[::1]:7710']}",
        "admin: {listen: 'tcp:[::ffff:127.0.0.1]:7711'}",
        # What a name stands for is asked when it is bound.
        "ingest: {stream: {listen: 'tcp:example.com:7720'}}",
        "admin: {listen: 'tcp:[::]:7710', token_file: /t}",
        "ingest: {max_event_bytes: 16MiB}",
        "queue: {max_bytes: 1MiB}",
    ],
)
def test_what_only_looks_like_a_contradiction_is_allowed(accept: Load, text: str) -> None:
    """One intake is enough, tokens open the network, free ports and other hosts do not collide."""
    assert accept(f"{text}\n{DESTINATION}")


def test_what_was_refused_already_is_not_refused_again(refuse: Refuse) -> None:
    """A wrong value gives one problem, not another one about what stands in for it."""
    text = (
        "ingest: {http: {listen: [x]}, stream: {listen: []}, max_event_bytes: 99MiB, max_request_bytes: big}\n"
        "admin: {listen: 'tcp:0.0.0.0:7711', token_file: ~/t}\n"
    )
    paths = [problem.path for problem in refuse(text + DESTINATION)]
    assert paths == ["ingest.http.listen[0]", "ingest.max_request_bytes", "admin.token_file"]


def test_a_contradiction_is_placed_where_the_setting_stands(refuse: Refuse) -> None:
    """The file and line, or the variable, that holds the setting; for a default, the group around it."""
    (found,) = refuse(f"{DESTINATION}    retry:\n      max: 1min\n      initial: 2min\n")
    assert found.source.endswith("forwarder.yaml:7")
    (found,) = refuse(f"{DESTINATION}    retry:\n      max: 10ms\n")
    assert found.source.endswith("forwarder.yaml:6")
    (found,) = refuse(DESTINATION, {"FORWARDER_INGEST__MAX_EVENT_BYTES": "1GiB"})
    assert found.source == "FORWARDER_INGEST__MAX_EVENT_BYTES"
