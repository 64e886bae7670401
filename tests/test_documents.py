"""The documentation is true: links lead somewhere, samples work, tables say what the program says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml

from forwarder.admin.status import DestinationState, QueueState
from forwarder.cli.root import cli
from forwarder.config import load
from forwarder.destination.http_put.responses import outcome_of
from forwarder.errors import ForwarderError
from forwarder.model import State
from tests.campaigns.__main__ import CAMPAIGNS
from tests.documents import DOCUMENTS, ROOT, headings, links, quoted, read, samples, section, table

READMES = [name for name in DOCUMENTS if name.endswith("README.md")]
SOURCES = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "forwarder").rglob("*.py")))
SETTINGS = yaml.safe_load(read("config/forwarder.yaml"))
MINIMAL = yaml.safe_load(read("config/minimal.yaml"))
# Names that have a dot, too: files, and a table of pyproject.toml.
_ENDINGS = ".db .json .pem .py .sock .sql .txt .yaml .toml .service .socket .importlinter"
OTHER = tuple(_ENDINGS.split())
documents = pytest.mark.parametrize("name", DOCUMENTS)
readmes = pytest.mark.parametrize("name", READMES)


# --- links -----------------------------------------------------------------------------------------


@documents
def test_links_lead_to_a_file_and_a_heading(name: str) -> None:
    """A relative link names a file or a folder that is there, and an anchor names a heading in it."""
    for link in links(read(name)):
        path, _, anchor = link.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} links to {link}: there is no such file"
        if anchor:
            assert anchor in headings(file.read_text(encoding="utf-8")), f"{name} links to {link}: no such heading"


@readmes
def test_an_anchor_means_one_heading(name: str) -> None:
    """No two headings of a document have the same anchor."""
    found = headings(read(name))
    assert len(found) == len(set(found))


def test_every_document_is_found_from_the_readme() -> None:
    """Whoever begins with README.md is led to all the others."""
    linked = {link.partition("#")[0] for link in links(read("README.md"))}
    assert set(DOCUMENTS) - {"README.md"} <= linked


@readmes
def test_the_list_of_contents_is_whole(name: str) -> None:
    """What a document lists at its beginning are its sections, all of them, in order."""
    listed = [link[1:] for link in links(read(name).partition("\n## ")[0]) if link.startswith("#")]
    assert listed == headings(read(name), 2)


@pytest.mark.parametrize("folder", ["config", "systemd"])
def test_what_is_shipped_is_described(folder: str) -> None:
    """Each file that is shipped for operators has a line in the README.md beside it."""
    files = {file.name for file in (ROOT / folder).iterdir()} - {"README.md"}
    assert files <= set(links(read(f"{folder}/README.md").partition("\n## ")[0]))


# --- samples ---------------------------------------------------------------------------------------


@readmes
def test_settings_in_samples_are_accepted(name: str, tmp_path: Path) -> None:
    """Each sample of YAML is a configuration, with the fewest lines that work around it."""
    for number, text in enumerate(samples(read(name), "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(merged(MINIMAL, yaml.safe_load(text))), encoding="utf-8")
        load(file, {})


def merged(base: Any, over: Any) -> Any:
    """Return a mapping with what another one says put over it."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


@readmes
def test_commands_in_samples_exist(name: str) -> None:
    """Each `forwarder …` of a sample is a command, and has the options that it is given."""
    for text in samples(read(name), "sh"):
        for found in re.findall(r"(?:^|sudo |\| |&& |\.venv/bin/)forwarder ([^|<>&#\n]+)", text, re.MULTILINE):
            command, words = resolved(shlex.split(found))
            assert {word for word in words if word.startswith("-")} <= options(command), found


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words begin with, and the words behind it."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


# --- words -----------------------------------------------------------------------------------------


def paths(settings: Any, above: str = "") -> Iterator[str]:
    """Return the names of all settings, in the form of `destinations.NAME.url`."""
    for key, value in settings.items():
        path = f"{above}{'NAME' if above == 'destinations.' else key}"
        yield path
        if isinstance(value, dict):
            yield from paths(value, f"{path}.")


@readmes
def test_settings_and_log_keys_exist(name: str) -> None:
    """What looks like a setting or like the key of a line in the log is one."""
    known = set(paths(SETTINGS))
    for word in quoted(read(name)):
        if re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", word) and not word.endswith(OTHER):
            is_inside = any(path.endswith(f".{word}") for path in known)
            assert word in known or is_inside or f'"{word}"' in SOURCES, f"{name}: {word}"


@readmes
def test_files_and_folders_exist(name: str) -> None:
    """Each module, script and folder that a document names is there."""
    beside = (ROOT, ROOT / "forwarder", ROOT / "tests", (ROOT / name).parent)
    for word in quoted(read(name)):
        if re.fullmatch(r"[\w.][\w./-]*(\.py|\.sql|\.toml|/)", word):
            assert any((folder / word).exists() for folder in beside), f"{name}: {word}"


def test_what_most_people_set_can_be_set() -> None:
    """Each setting of the table exists; one that begins with a dot stands beside the one before it."""
    known = set(paths(SETTINGS))
    for cells in table("config/README.md", "What most people set"):
        first, *others = quoted(cells[0])
        beside = first.rpartition(".")[0]
        assert {first, *(f"{beside}{other}" if other.startswith(".") else other for other in others)} <= known


def test_one_path_for_each_socket() -> None:
    """Whatever is shipped uses the sockets that the documentation lists, and no others."""
    listed = {path for cells in table("config/README.md", "Where the sockets are") for path in quoted(" ".join(cells))}
    shipped = [file for folder in ("config", "systemd") for file in (ROOT / folder).iterdir()]
    texts = [*(file.read_text(encoding="utf-8") for file in shipped), *map(read, READMES), read("Dockerfile")]
    assert set(re.findall(r"/run/[\w/-]+\.sock\b", "\n".join(texts))) == listed


# --- tables ----------------------------------------------------------------------------------------


def test_table_of_commands() -> None:
    """README.md lists every command with its subcommands, and options that it has."""
    listed = set()
    for cells in table("README.md", "Commands"):
        name, *rest = quoted(cells[0])[0].split(maxsplit=1)
        listed.add(name)
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            assert set(rest[0].split(r"\|")) == set(command.list_commands(click.Context(command)))
        else:
            assert command is not None
            assert set(re.findall(r"--[a-z]+", " ".join(rest))) <= options(command)
    assert listed == set(cli.list_commands(click.Context(cli)))


def test_exit_codes() -> None:
    """README.md lists the exit code of every error, and those that are no error's."""
    (text,) = re.findall(r"^Exit codes: (.*?)\n\n", section("README.md", "Commands"), re.MULTILINE | re.DOTALL)
    listed = {int(code) for code in re.findall(r"(?:^|; )(\d+) ", text.replace("\n", " "))}
    assert listed == {0, 130, 141, *(error.exit_code for error in errors(ForwarderError))}


def errors(base: type[ForwarderError]) -> Iterator[type[ForwarderError]]:
    """Yield a class of errors and all classes below it."""
    yield base
    for below in base.__subclasses__():
        yield from errors(below)


def test_table_of_outcomes() -> None:
    """README.md gives each status the outcome that the forwarder gives it."""
    listed: dict[int | None, str] = {}
    others: dict[int, str] = {}
    for answers, outcome, _ in table("README.md", "What the destination answers"):
        listed |= dict.fromkeys(map(int, re.findall(r"\b\d{3}\b", answers)), quoted(outcome)[0])
        others |= dict.fromkeys(map(int, re.findall(r"\b(\d)xx", answers)), quoted(outcome)[0])
        if "no connection" in answers:
            listed[None] = quoted(outcome)[0]
    assert None in listed
    assert set(others) == {2, 3, 4, 5}
    for status in [None, *range(200, 600)]:
        expected = listed[status] if status in listed else others[status // 100]
        assert outcome_of(status, {}).value == expected, status


def test_table_of_the_status() -> None:
    """README.md lists each field of the status of a destination and of the queue, and each state that it can be in."""
    rows = table("README.md", "Status")
    assert [name for cells in rows for name in quoted(cells[0])] == [
        field.name for kind in (DestinationState, QueueState) for field in msgspec.structs.fields(kind)
    ]
    assert set(quoted(rows[0][1])) == {state.value for state in State}


def test_table_of_answers_over_http() -> None:
    """The intake's table lists each status of its description, and those of a request that reaches no operation."""
    listed = {code for cells in table("forwarder/ingest/README.md", "HTTP") for code in re.findall(r"\d{3}", cells[0])}
    described = json.loads(read("forwarder/ingest/openapi.json"))["paths"]["/v1/events"]["post"]["responses"]
    assert listed == {*described, "404", "405", "414"}


def test_table_of_admin_requests() -> None:
    """The admin API's table lists each request of its description."""
    listed = set()
    for cells in table("forwarder/admin/README.md", "The admin API"):
        first, *others = quoted(cells[0])
        method, path = first.split()
        listed |= {(method, path), *((method, other.replace("…", path.rpartition("/")[0])) for other in others)}
    described = {
        (method.upper(), path.replace("{name}", "NAME"))
        for path, item in json.loads(read("forwarder/admin/openapi.json"))["paths"].items()
        for method in item
        if method in {"get", "post", "delete"}
    }
    assert listed == described


def test_table_of_reasons() -> None:
    """Each reason for which a letter can be dead is explained."""
    command, _ = resolved(["dead", "list"])
    (reason,) = [parameter for parameter in command.params if "--reason" in parameter.opts]
    assert isinstance(reason.type, click.Choice)
    assert [quoted(cells[0])[0] for cells in table("forwarder/queue/README.md", "Dead letters")] == list(
        reason.type.choices
    )


def test_table_of_volumes() -> None:
    """The volumes of the image are those that its description lists."""
    (volumes,) = re.findall(r"^VOLUME (.*)$", read("Dockerfile"), re.MULTILINE)
    assert [quoted(cells[0])[0] for cells in table("config/README.md", "Containers")] == json.loads(volumes)


def test_map_of_the_tests() -> None:
    """Each folder of tests mirrors a package, or the map says what is in it."""
    listed = {quoted(cells[0])[0].rstrip("/") for cells in table("tests/README.md", "Map")}
    folders = {file.parent.name for file in (ROOT / "tests").glob("*/__init__.py")}
    packages = {file.parent.name for file in (ROOT / "forwarder").glob("*/__init__.py")}
    assert listed == folders - packages


def test_table_of_campaigns() -> None:
    """Each campaign is listed."""
    assert {quoted(cells[0])[0] for cells in table("tests/README.md", "Campaigns")} == set(CAMPAIGNS)
