"""The effective YAML, the JSON Schema and the starter file; and the files that are shipped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from forwarder.config import Config, json_schema, load, starter, to_yaml, warnings
from tests.config.cases import CONTRADICTIONS, LONG_NAME, LONG_PATH, MAIN, TOP
from tests.config.conftest import DESTINATION, Load

SHIPPED = Path(__file__).parents[2] / "config"
FILES = ["forwarder.yaml", "minimal.yaml", "sidecar.yaml"]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def document(text: str) -> Any:
    return yaml.safe_load(text)


def names(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted paths of all settings in a schema; `*` is a name of the operator's choice."""
    for group in schema.get("oneOf", []):
        yield from names(group, path)
    if isinstance(schema.get("properties"), dict):
        for name, inner in schema["properties"].items():
            yield from names(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(schema.get("additionalProperties"), dict) and "properties" in schema["additionalProperties"]:
        yield from names(schema["additionalProperties"], f"{path}.*")
    elif "oneOf" not in schema:
        yield path


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_load_without_a_warning_and_fit_the_schema(name: str) -> None:
    """What we ship works as it is."""
    assert warnings(load(SHIPPED / name, {})) == []
    assert list(VALIDATOR.iter_errors(document((SHIPPED / name).read_text()))) == []


def test_the_shipped_reference_is_the_starter() -> None:
    """config/forwarder.yaml is what `forwarder config init` writes, byte for byte."""
    assert (SHIPPED / "forwarder.yaml").read_text() == starter()


def test_the_reference_holds_every_setting(file: Path) -> None:
    """No setting can be added without appearing in the reference, below words about it."""
    reference = document(starter())
    for path in names(SCHEMA):
        part = reference
        for name in path.replace("*", "main").split("."):
            if name not in part:
                # Fields of the envelope are entries of a map that is empty by default.
                assert path.split(".")[-2] in {"match", "defaults"}
                break
            part = part[name]
    lines = starter().splitlines()
    for before, line in itertools.pairwise(lines):
        assert line.lstrip().startswith("#") or not line or before.lstrip().startswith("#") or line == "  main:"


def test_the_reference_holds_the_defaults(file: Path) -> None:
    """Apart from the example destination's URL and key, the reference changes nothing."""
    config = load(SHIPPED / "forwarder.yaml", {})
    assert config == load(SHIPPED / "minimal.yaml", {})
    assert config == Config(destinations=config.destinations)


def test_lines_of_the_starter_fit_a_screen() -> None:
    """The file can be read in a terminal."""
    assert max(map(len, starter().splitlines())) <= 120


def everything(accept: Load) -> Config:
    return accept(
        f"""
ingest:
  http: {{listen: ["tcp:[::1]:7710", "unix:/a"]}}
  defaults: {{version: "1.10"}}
  allow_uids: [0]
queue: {{max_bytes: 1500MiB}}
{DESTINATION}
    match: {{eventType: [a, "on"]}}
    responses: {{403: deferred}}
    retry: {{give_up_after: 36h, multiplier: 1.5, initial: 1500ms}}
    headers: {{Authorization: Bearer hunter2, X-Tenant: hunter2}}
    proxy: http://me:hunter2@proxy.example:3128
"""
    )


def test_the_effective_configuration_loads_again(accept: Load) -> None:
    """What is shown is a configuration; only secrets differ."""
    config = everything(accept)
    again = accept(to_yaml(config))
    assert again.destinations["main"].headers == {"Authorization": "***", "X-Tenant": "***"}
    assert again.destinations["main"].proxy == "http://***@proxy.example:3128"
    assert to_yaml(again) == to_yaml(config)
    assert again.ingest == config.ingest
    assert again.destinations["main"].retry == config.destinations["main"].retry
    assert accept(to_yaml(accept())) == accept()


def test_the_effective_configuration_shows_no_secret(accept: Load) -> None:
    """Values of headers and the password of a proxy are masked."""
    shown = to_yaml(everything(accept))
    assert "hunter2" not in shown
    assert shown.count("***") == 3


def test_the_effective_configuration_fits_the_schema(accept: Load) -> None:
    """The schema takes what the forwarder itself writes."""
    assert list(VALIDATOR.iter_errors(document(to_yaml(everything(accept))))) == []


def test_the_schema_is_one() -> None:
    """The schema is valid under draft 2020-12, and every pattern in it is a regular expression."""
    Draft202012Validator.check_schema(SCHEMA)
    for pattern in re.findall(r"'pattern': '([^']*)'", str(SCHEMA)):
        re.compile(pattern)


def test_the_word_for_each_backend_is_a_constant() -> None:
    """Editors complete the words of the backends, sqlite first, and underline any other."""
    queue = SCHEMA["properties"]["queue"]
    words = [group["properties"]["backend"]["const"] for group in queue.get("oneOf", [queue])]
    assert words[0] == "sqlite"


def test_every_setting_is_described_with_its_default() -> None:
    """Editors can show what a setting means."""

    def check(properties: dict[str, Any]) -> None:
        for name, schema in properties.items():
            assert schema["description"], name
            if "oneOf" in schema or ("properties" in schema and name not in {"match", "defaults"}):
                for group in schema.get("oneOf", [schema]):
                    check(group["properties"])
            else:
                assert "default" in schema or name in {"url", "key_file", "destinations"}

    check(SCHEMA["properties"])
    check(SCHEMA["properties"]["destinations"]["additionalProperties"]["properties"])


# What a schema cannot say: the bounds of sizes and durations with units, what a ${NAME} stands for,
# what YAML has read as something else before a validator sees it, and finer points of addresses.
BEYOND = [
    *("queue: {max_bytes: 1023KiB}", "queue: {max_bytes: 999999999999999999GiB}", "queue: {max_bytes: 5}"),
    *("ingest: {max_request_bytes: 2GiB}", "shutdown_timeout: 99999999d", "shutdown_timeout: 1:30"),
    *('ingest: {token_file: "${TOKENS}/t"}', "admin: {listen: ['unix:${NO}/a']}", 'ingest: {socket_mode: "0440"}'),
    *('ingest: {defaults: {eventType: "a\\nb"}}', "batch: {max_events: 010}", "batch: {max_events: 1_000}"),
    *(r'queue: {path: "/x\ud800"}', r'queue: {path: "/x\0"}', r'admin: {listen: ["unix:/x\ud800"]}'),
    *(LONG_NAME, LONG_PATH, "queue: {max_bytes: 010000000}"),
    *("retry: {multiplier: .nan}", "in_flight: 1.0", "headers: {X-A: a, x-a: b}", "shutdown_timeout: .nan"),
]


@pytest.mark.parametrize("text", [case[0] for case in TOP if case[0] not in BEYOND and "?" not in case[0]])
def test_the_schema_refuses_what_loading_refuses(text: str) -> None:
    """Editors underline the same mistakes."""
    assert not VALIDATOR.is_valid(document(f"{text}\n{DESTINATION}"))


@pytest.mark.parametrize("text", [case[0] for case in MAIN if case[0] not in BEYOND])
def test_the_schema_refuses_what_loading_refuses_in_a_destination(text: str) -> None:
    """The same within a destination."""
    value = document(DESTINATION)
    value["destinations"]["main"] |= document(text)
    assert not VALIDATOR.is_valid(value)


@pytest.mark.parametrize("text", [case[0] for case in CONTRADICTIONS])
def test_the_schema_leaves_contradictions_to_loading(text: str) -> None:
    """A schema looks at one setting at a time: nothing that is right by itself is underlined."""
    assert list(VALIDATOR.iter_errors(document(f"{text}\n{DESTINATION}"))) == []


@pytest.mark.parametrize(
    "text", ["log: {level: info}", "destinations: {}", "destinations: {main: }", "destinations: {a b: {}}"]
)
def test_the_schema_wants_a_destination(text: str) -> None:
    """A destination with a URL and a key is the least there is."""
    assert not VALIDATOR.is_valid(document(text))
