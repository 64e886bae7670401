"""Reading the file and the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forwarder.config import load, loading
from forwarder.errors import ConfigError, Problem
from tests.config.conftest import DESTINATION, Load, Refuse

URL = "FORWARDER_DESTINATIONS__MAIN__URL"
KEY = "FORWARDER_DESTINATIONS__MAIN__SIGNING__KEY_FILE"
ALONE = {URL: "https://example.com/put", KEY: "/k"}


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default file, somewhere else."""
    monkeypatch.setattr(loading, "DEFAULT_PATH", tmp_path / "default.yaml")
    return tmp_path / "default.yaml"


def refused(path: Path | None, environ: dict[str, str]) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return caught.value.problems


def test_the_file_is_the_given_one_else_that_of_the_environment_else_the_default(tmp_path: Path, default: Path) -> None:
    """-c comes before $FORWARDER_CONFIG, and that before /etc/forwarder/forwarder.yaml."""
    given, named = tmp_path / "given.yaml", tmp_path / "named.yaml"
    for file in (given, named, default):
        file.write_text(DESTINATION.replace("main", file.stem))
    assert list(load(given, {"FORWARDER_CONFIG": str(named)}).destinations) == ["given"]
    assert list(load(None, {"FORWARDER_CONFIG": str(named)}).destinations) == ["named"]
    assert list(load(None, {"FORWARDER_CONFIG": ""}).destinations) == ["default"]
    assert list(load(None, {}).destinations) == ["default"]


def test_the_default_file_is_where_systems_expect_it() -> None:
    """Without any hint the configuration is looked for in /etc."""
    assert Path("/etc/forwarder/forwarder.yaml") == loading.DEFAULT_PATH


@pytest.mark.parametrize(
    "environ", [ALONE, {"FORWARDER_DESTINATIONS": f"{{a: {{url: '{ALONE[URL]}', signing: {{key_file: /k}}}}}}"}]
)
def test_the_environment_alone_is_enough(default: Path, environ: dict[str, str]) -> None:
    """Without the default file, a destination in the environment makes a configuration."""
    (destination,) = load(None, environ).destinations.values()
    assert (destination.url, destination.signing.key_file) == ("https://example.com/put", Path("/k"))


def test_mistakes_without_a_file_are_those_of_the_environment(default: Path) -> None:
    """Where a default takes part in a contradiction, the environment as a whole is named."""
    (problem,) = refused(None, ALONE | {"FORWARDER_INGEST__MAX_REQUEST_BYTES": "200kB"})
    assert (problem.source, problem.path) == ("FORWARDER_INGEST__MAX_REQUEST_BYTES", "ingest.max_event_bytes")


@pytest.mark.parametrize("environ", [{}, {URL: "https://example.com/put"}, {KEY: "/k"}])
def test_without_file_and_destination_the_remedy_is_to_write_one(default: Path, environ: dict[str, str]) -> None:
    """A missing file is one problem, and the command that writes one is its remedy."""
    (problem,) = refused(None, environ)
    assert problem.source == str(default)
    assert problem.problem == "there is no such file"
    remedy = f"Write one with `forwarder config init {default}`, or name another with -c or FORWARDER_CONFIG."
    assert problem.remedy == remedy


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path, default: Path) -> None:
    """A destination in the environment does not stand in for a file that was named."""
    missing = tmp_path / "missing.yaml"
    for path, environ in ((missing, ALONE), (None, ALONE | {"FORWARDER_CONFIG": str(missing)})):
        (problem,) = refused(path, environ)
        assert (problem.source, problem.problem) == (str(missing), "there is no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in the file's place is named as one."""
    (problem,) = refused(tmp_path, {})
    assert problem.problem == "is a folder"
    assert str(tmp_path) in problem.remedy


def test_a_path_that_no_system_knows_is_no_file() -> None:
    """Even a path with a zero byte ends in a problem."""
    (problem,) = refused(Path("a\0b"), {})
    assert "cannot be read" in problem.problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_names_the_user(file: Path) -> None:
    """The remedy lets the daemon's user read it."""
    file.write_text(DESTINATION)
    file.chmod(0)
    (problem,) = refused(file, {})
    assert problem.problem == f"user id {os.geteuid()} may not read the file"
    assert f"chmod 640 {file}" in problem.remedy


def test_a_device_is_not_read_for_ever() -> None:
    """A device is no configuration, and its end is not waited for."""
    (problem,) = refused(Path("/dev/zero"), {})
    assert problem.problem == "is not a regular file"


def test_a_file_that_is_not_utf8_is_refused_with_the_line(file: Path) -> None:
    """The encoding is UTF-8."""
    file.write_bytes(b"log:\n  level: \xff\n")
    (problem,) = refused(file, {})
    assert (problem.problem, problem.remedy) == ("the file is not UTF-8 (line 2)", "Save it in UTF-8.")


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    """Some editors put one in front."""
    file.write_bytes(b"\xef\xbb\xbf" + DESTINATION.encode())
    assert load(file, {})


@pytest.mark.parametrize("text", ["", "\n", "# nothing but comments\n", "---\n...\n"])
def test_an_empty_file_is_refused(refuse: Refuse, text: str) -> None:
    """Nothing is no configuration; the remedy is to write one."""
    (problem,) = refuse(text)
    assert (problem.path, problem.problem.startswith(("the file is empty", "the file as a whole is empty"))) == (
        "",
        True,
    )
    assert "forwarder config init" in problem.remedy


@pytest.mark.parametrize(
    ("text", "words"), [("- a\n", "is a list"), ("hello\n", "the file as a whole is text"), ("5", "is a number")]
)
def test_a_file_that_is_no_mapping_is_refused(refuse: Refuse, text: str, words: str) -> None:
    """The whole file is `name: value` lines."""
    (problem,) = refuse(text)
    assert words in problem.problem
    assert "but `name: value` lines are wanted" in problem.problem


def test_broken_yaml_names_line_and_column(refuse: Refuse, file: Path) -> None:
    """A syntax error is one problem; nothing is said about settings that could not be read."""
    (problem,) = refuse("queue:\n  path: a: b\n", {"FORWARDER_QUEUE__MAX_BYTES": "1GiB"})
    assert problem.source == f"{file}:2"
    assert "(line 2, column 10)" in problem.problem


def test_broken_yaml_and_wrong_variables_are_found_together(refuse: Refuse) -> None:
    """What can be said about the environment is said, too."""
    problems = refuse("queue: [", {"FORWARDER_ZEBRA": "x"})
    assert [problem.source.rpartition("/")[2] for problem in problems] == ["forwarder.yaml:1", "FORWARDER_ZEBRA"]


def test_all_problems_are_found_at_once(refuse: Refuse, file: Path) -> None:
    """One run names every mistake of the file, of the environment, and between settings."""
    text = """\
queue: {max_byte: 1, when_full: maybe}
queue: {}
ingest: {max_event_bytes: 99MiB}
destinations:
  main: {url: nowhere, in_flight: 0, tls: {cert_file: /c}}
"""
    problems = refuse(text, {"FORWARDER_LOG__LEVEL": "loud", "FORWARDER_ZEBRA": "1"})
    found = {(problem.source.removeprefix(f"{file}:"), problem.path) for problem in problems}
    assert found == {
        ("2", "queue"),
        ("FORWARDER_ZEBRA", ""),
        ("1", "queue.max_byte"),
        ("1", "queue.when_full"),
        ("3", "ingest.max_event_bytes"),
        ("5", "destinations.main.url"),
        ("5", "destinations.main.in_flight"),
        ("5", "destinations.main.signing.key_file"),
        ("5", "destinations.main.tls.cert_file"),
        ("FORWARDER_LOG__LEVEL", "log.level"),
    }
    assert len(problems) == len(found)


def test_the_message_has_a_line_for_each_problem(refuse: Refuse, file: Path) -> None:
    """What the operator reads names file and line, the dotted path, the mistake and the remedy."""
    (problem,) = refuse(f"{DESTINATION}    timeout: 5 minutes\n")
    assert str(problem) == (
        f"{file}:5: destinations.main.timeout: `5 minutes` is not a duration. "
        "Write a number of seconds, or a number with ms, s, min, h or d, such as 30s."
    )


def test_keys_and_tokens_are_not_read(accept: Load) -> None:
    """Loading looks at paths only; those who use a file read it."""
    config = accept(f"ingest: {{token_file: /nowhere/token}}\n{DESTINATION}")
    assert config.ingest.token_file == Path("/nowhere/token")


# Words that stand somewhere in a configuration, right and wrong ones, to be put together at random.
NAMES = st.sampled_from(
    [
        *("ingest", "queue", "destinations", "admin", "log", "main", "http", "listen", "path", "url", "signing"),
        *("key_file", "match", "eventType", "headers", "responses", "403", "retry", "max_bytes"),
    ]
)
VALUES = st.sampled_from(
    [None, True, 0, -1, 1.5, "1GiB", "/a", "unix:/a", "tcp:0.0.0.0:1", "https://example.com/", "on", "", "${A}", "held"]
)
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5))


@given(
    st.dictionaries(NAMES, TREES, max_size=5),
    st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("__".join), VALUES.map(str), max_size=3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_a_configuration_or_its_problems(
    file: Path, tree: dict[str, object], variables: dict[str, str]
) -> None:
    """Whatever the file and the environment hold, loading ends with a Config or with problems and remedies."""
    file.write_text(json.dumps(tree))
    problems: list[Problem] = []
    try:
        load(file, {f"FORWARDER_{name.upper()}": value for name, value in variables.items()})
    except ConfigError as error:
        problems = error.problems
    assert [problem for problem in problems if not (problem.source and problem.problem and problem.remedy)] == []
