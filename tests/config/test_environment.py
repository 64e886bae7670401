"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.config import LogConfig, SqliteConfig
from forwarder.model import Address, Outcome
from tests.config.conftest import DESTINATION, Load, Refuse

TWO = DESTINATION + "  Blue-1:\n    url: https://blue.example/put\n    signing: {key_file: /k}\n"


def test_the_environment_wins(accept: Load) -> None:
    """A variable replaces what the file says."""
    environ = {"FORWARDER_QUEUE__MAX_BYTES": "8GiB", "FORWARDER_QUEUE__BACKEND": "sqlite"}
    config = accept(f"queue: {{backend: other, max_bytes: 1GiB, path: /a}}\n{DESTINATION}", environ)
    assert config.queue == SqliteConfig(max_bytes=8 * 1024**3, path=Path("/a"))


def test_values_are_read_by_the_kind_of_their_setting(accept: Load) -> None:
    """Text is taken as it is; numbers, yes and no, maps and lists are YAML; lists may have commas."""
    config = accept(
        DESTINATION,
        {
            "FORWARDER_INGEST__HTTP__LISTEN": '["tcp:127.0.0.1:1", "unix:/a,b"]',
            "FORWARDER_INGEST__STREAM__LISTEN": "tcp:[::1]:2, unix:/s",
            "FORWARDER_ADMIN__LISTEN": "",
            "FORWARDER_INGEST__SOCKET_MODE": "660",
            "FORWARDER_INGEST__ALLOW_UIDS": "0,1000",
            "FORWARDER_INGEST__DEFAULTS__VERSION": "1.10",
            "FORWARDER_INGEST__DEFAULTS__EVENTSOURCEID": "on",
            "FORWARDER_SHUTDOWN_TIMEOUT": "5",
            "forwarder_log__level": "ignored: another prefix",
            "FORWARDER_LOG__level": "debug",
            "FORWARDER_DESTINATIONS__MAIN__BATCH__MAX_EVENTS": "7",
            "FORWARDER_DESTINATIONS__MAIN__BATCH__MAX_BYTES": "1000",
            "FORWARDER_DESTINATIONS__MAIN__RETRY__GIVE_UP_AFTER": "7d",
            "FORWARDER_DESTINATIONS__MAIN__RETRY__MULTIPLIER": "1.5",
            "FORWARDER_DESTINATIONS__MAIN__SINGLE_AS_OBJECT": "true",
            "FORWARDER_DESTINATIONS__MAIN__SIGNING__KID": "2026",
            "FORWARDER_DESTINATIONS__MAIN__SIGNING__TYP": "",
            "FORWARDER_DESTINATIONS__MAIN__PROXY": "null",
            "FORWARDER_DESTINATIONS__MAIN__HEADERS": '{X-A: "1", X-B: b}',
            "FORWARDER_DESTINATIONS__MAIN__RESPONSES__403": "deferred",
            "FORWARDER_DESTINATIONS__MAIN__MATCH__EVENTTYPE": "a*,b*",
        },
    )
    main = config.destinations["main"]
    assert config.ingest.http.listen == (Address(host="127.0.0.1", port=1), Address(path="/a,b"))
    assert config.ingest.stream.listen == (Address(host="::1", port=2), Address(path="/s"))
    assert (config.admin.listen, config.ingest.socket_mode, config.ingest.allow_uids) == ((), 0o660, (0, 1000))
    assert config.ingest.defaults == {"version": "1.10", "eventSourceId": "on"}
    assert (config.shutdown_timeout, config.log.level) == (5, "debug")
    assert (main.batch.max_events, main.batch.max_bytes, main.single_as_object) == (7, 1000, True)
    assert (main.retry.give_up_after, main.retry.multiplier) == (604800, 1.5)
    assert (main.signing.kid, main.signing.typ, main.proxy) == ("2026", None, None)
    assert main.headers == {"X-A": "1", "X-B": "b"}
    assert main.responses == {403: Outcome.DEFERRED}
    assert main.match == {"eventType": ("a*", "b*")}


@pytest.mark.parametrize("name", ["BLUE_1", "blue_1", "Blue-1"])
def test_a_destination_of_the_file_is_found_whatever_its_case(accept: Load, name: str) -> None:
    """Names of variables have neither small letters nor hyphens, names of destinations may."""
    config = accept(TWO, {f"FORWARDER_DESTINATIONS__{name}__TIMEOUT": "5s"})
    assert list(config.destinations) == ["main", "Blue-1"]
    assert config.destinations["Blue-1"].timeout == 5


def test_a_new_destination_gets_a_name_in_lower_case(accept: Load) -> None:
    """A destination that the file does not have can be added."""
    prefix = "FORWARDER_DESTINATIONS__OTHER__"
    config = accept(
        DESTINATION,
        {f"{prefix}URL": "https://other.example/put", f"{prefix}SIGNING": "{key_file: '${HOME}/k'}", "HOME": "/h"},
    )
    assert list(config.destinations) == ["main", "other"]
    assert config.destinations["other"].signing.key_file == Path("/h/k")


def test_a_group_is_replaced_as_a_whole_and_then_its_parts(accept: Load) -> None:
    """A variable replaces exactly what it names; one that names a part comes after one that names the whole."""
    text = f"{DESTINATION}    batch: {{max_events: 5, max_bytes: 7}}\n    headers: {{A: a}}\n"
    config = accept(
        text,
        {
            "FORWARDER_DESTINATIONS__MAIN__BATCH__MAX_AGE": "2s",
            "FORWARDER_DESTINATIONS__MAIN__BATCH": "{max_events: 9}",
            "FORWARDER_DESTINATIONS__MAIN__HEADERS": "{}",
        },
    )
    main = config.destinations["main"]
    assert (main.batch.max_events, main.batch.max_bytes, main.batch.max_age) == (9, 1024**2, 2)
    assert main.headers == {}


def test_a_group_comes_before_its_parts_whatever_the_case_of_their_names(accept: Load) -> None:
    """The order is that of the levels, not of the letters."""
    environ = {"FORWARDER_LOG__LEVEL": "debug", "FORWARDER_log": "{format: json}"}
    assert accept(DESTINATION, environ).log == LogConfig(level="debug", format="json")


@pytest.mark.parametrize("empty", ["log:", "log: {}", ""])
def test_a_group_that_is_empty_in_the_file_can_be_filled(accept: Load, empty: str) -> None:
    """A variable makes the group that it needs."""
    assert accept(f"{empty}\n{DESTINATION}", {"FORWARDER_LOG__LEVEL": "debug"}).log.level == "debug"


def test_a_setting_into_a_group_of_the_wrong_shape_leaves_the_mistake_visible(refuse: Refuse) -> None:
    """The environment does not hide what is wrong in the file."""
    (problem,) = refuse(f"log: loud\n{DESTINATION}", {"FORWARDER_LOG__LEVEL": "debug"})
    assert problem.path == "log"
    assert problem.source.endswith("forwarder.yaml:1")


@pytest.mark.parametrize(
    ("name", "value", "path", "words"),
    [
        ("FORWARDER_QUEUE__MAX_BYTE", "1", "", "names no setting. Did you mean `FORWARDER_QUEUE__MAX_BYTES`?"),
        ("FORWARDER_QUEUE_MAX_BYTES", "1", "", "Did you mean `FORWARDER_QUEUE__MAX_BYTES`? Two underscores part"),
        ("FORWARDER_DESTINATIONS__MAIN__URI", "x", "", "Did you mean `FORWARDER_DESTINATIONS__MAIN__URL`?"),
        ("FORWARDER_DESTINATIONS__MAIN__URL__X", "x", "", "Did you mean `FORWARDER_DESTINATIONS__MAIN__URL`?"),
        ("FORWARDER_DESTINATIONS__MAIN__MATCH__EVENTID", "x", "", "Did you mean `FORWARDER_DESTINATIONS__MAIN__MATCH"),
        ("FORWARDER_ZEBRA", "x", "", "names no setting. "),
        ("FORWARDER_", "x", "", "names no setting. "),
        ("FORWARDER_LOG__LEVEL__", "x", "", "Did you mean `FORWARDER_LOG__LEVEL`?"),
        ("FORWARDER_DESTINATIONS____URL", "x", "", "names no setting"),
        (
            "FORWARDER_QUEUE__BACKEND",
            "sqlit",
            "queue.backend",
            "`sqlit` is not known. Did you mean `sqlite`? Write ",
        ),
        ("FORWARDER_QUEUE__BACKEND", "jetstream", "queue.backend", "this build only knows the backend sqlite"),
        ("FORWARDER_QUEUE__BACKENT", "sqlite", "", "names no setting. Did you mean `FORWARDER_QUEUE__BACKEND`?"),
        ("FORWARDER_QUEUE__MAX_BYTES", "1G", "queue.max_bytes", "`1G` is not a size"),
        ("FORWARDER_QUEUE__MAX_BYTES", "", "queue.max_bytes", "`` is not a size"),
        ("FORWARDER_QUEUE__PATH", "\udcff", "queue.path", "is not UTF-8"),
        ("FORWARDER_QUEUE", "x", "queue", "what stands here is text, but a group of settings is wanted"),
        ("FORWARDER_QUEUE", "{path: /a, path: /b}", "queue.path", "is set twice"),
        ("FORWARDER_INGEST__ALLOW_UIDS", "root", "ingest.allow_uids[0]", "`root` is text, but a whole number"),
        ("FORWARDER_INGEST__HTTP__LISTEN", "[", "ingest.http.listen", "is not YAML"),
        ("FORWARDER_INGEST__HTTP__LISTEN", "unix:/a,", "ingest.http.listen[1]", "is not an address"),
        ("FORWARDER_DESTINATIONS__MAIN__IN_FLIGHT", "", "destinations.main.in_flight", "is empty, but a whole number"),
        ("FORWARDER_DESTINATIONS__MAIN__IN_FLIGHT", "{", "destinations.main.in_flight", "is not YAML"),
        ("FORWARDER_DESTINATIONS__NEW__URL", "https://a.example/", "destinations.new.signing.key_file", "is missing"),
    ],
)
def test_a_wrong_variable_is_named(refuse: Refuse, name: str, value: str, path: str, words: str) -> None:
    """The problem names the variable, the setting it stands for, and the remedy."""
    (problem,) = refuse(DESTINATION, {name: value})
    assert (problem.source, problem.path) == (name, path)
    assert words in f"{problem.problem}. {problem.remedy}"


def test_a_setting_is_named_by_one_variable(refuse: Refuse) -> None:
    """Two spellings of one variable contradict each other."""
    (problem,) = refuse(DESTINATION, {"FORWARDER_LOG__LEVEL": "info", "FORWARDER_LOG__level": "debug"})
    assert problem.path == "log.level"
    assert "is set by FORWARDER_LOG__LEVEL, too" in problem.problem


def test_a_variable_that_could_mean_two_destinations_is_refused(refuse: Refuse) -> None:
    """Destinations that differ only by case or by a hyphen cannot be told apart in the environment."""
    text = TWO.replace("main", "blue_1")
    (problem,) = refuse(text, {"FORWARDER_DESTINATIONS__BLUE_1__TIMEOUT": "5s"})
    assert "means each of blue_1, Blue-1" in problem.problem
    assert "Rename" in problem.remedy


@pytest.mark.parametrize(
    "name",
    [
        "FORWARDER_CONFIG",
        "FORWARDER_SERVICE_HOST",
        "FORWARDER_SERVICE_PORT",
        "FORWARDER_SERVICE_PORT_HTTP",
        "FORWARDER_PORT",
        "FORWARDER_PORT_7710_TCP",
        "FORWARDER_PORT_7710_TCP_ADDR",
        "FORWARDER_EVENTS_SERVICE_HOST",
        "FORWARDER_EVENTS_PORT_7710_TCP_PROTO",
    ],
)
def test_what_kubernetes_sets_for_a_service_is_no_setting(accept: Load, name: str) -> None:
    """A Service whose name begins with forwarder does not keep the forwarder from starting."""
    assert accept(DESTINATION, {name: "tcp://10.0.0.1:7710"}) == accept()


@pytest.mark.parametrize("name", ["FORWARDER_QUEUE__PORT", "FORWARDER_PORTS", "FORWARDER_PORT_X"])
def test_what_only_looks_like_a_service_is_refused(refuse: Refuse, name: str) -> None:
    """Nothing else slips through."""
    (problem,) = refuse(DESTINATION, {name: "x"})
    assert problem.problem == "names no setting"
