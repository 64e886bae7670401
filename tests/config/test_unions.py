"""Groups that a word tells apart, from the document to the reference file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from forwarder.config.document import Section, dump
from forwarder.config.groups import Group, hides
from forwarder.config.reading import Reading
from forwarder.config.rendering import commented
from tests.config.stores import STORE, STORES, Disk, DiskOptions, Server, ServerOptions, Stores, read


@dataclass(frozen=True, kw_only=True)
class Needed:
    """A configuration without a default."""

    store: Annotated[Disk | Server, STORE, "The store."]


VALIDATOR = Draft202012Validator(STORES.schema())


@pytest.mark.parametrize("text", ["", "store:", "store: {}", "store: {backend: disk}", "store: {path: /q}"])
def test_the_first_group_is_meant_where_the_word_is_left_out(text: str) -> None:
    """Without the word, and without the group around it, the first group has its defaults."""
    assert read(text) == (Stores(store=Disk()), [])


def test_the_word_decides_which_settings_there_are() -> None:
    """Each group has its own settings, and a name that both have is read as the group that is meant has it."""
    text = "store: {backend: server, urls: [a, b], amount: 7, options: {replicas: 1}}\nothers: {x: {amount: 7KiB}}"
    value, problems = read(text)
    assert problems == []
    assert value.store == Server(urls=("a", "b"), amount=7, options=ServerOptions(replicas=1))
    assert value.others == {"x": Disk(amount=7168)}


KNOWN = "Known here: backend, path, amount, options, labels."
WRONG = [
    (
        "store:\n backend: servr",
        "f:2",
        "store.backend",
        "`servr` is not known",
        "Did you mean `server`? Write one of disk",
    ),
    (
        "store:\n backend: tape",
        "f:2",
        "store.backend",
        "`tape` cannot stand here: this is",
        "Write one of disk, server.",
    ),
    (
        "store:\n backend: [disk]",
        "f:2",
        "store.backend",
        "is a list, but one of a few words",
        "Write one of disk, server",
    ),
    ("store:\n backend:", "f:2", "store.backend", "is empty, but one of a few words", "Write one of disk, server."),
    ("store: disk", "f:1", "store", "is text, but a group of settings is wanted", "Write `name: value` lines"),
    ("store:\n backend: server", "f:2", "store.urls", "is missing", "Add it, such as `urls: [nats://a]`."),
    ("store:\n path: /a\n zebra: 1", "f:3", "store.zebra", "is not a setting", KNOWN),
    ("store:\n pat: /a", "f:2", "store.pat", "is not a setting", f"Did you mean `path`? {KNOWN}"),
    (
        "store:\n amount: 1\n urls: [a]",
        "f:3",
        "store.urls",
        "is a setting of `backend: server`, and this is `backend: disk`",
        "Change the one or leave out the other.",
    ),
    (
        "store: {backend: server, urls: [a],\n path: /a}",
        "f:2",
        "store.path",
        "is a setting of `backend: disk`",
        "Change",
    ),
    ("others:\n x:\n  backend: servr", "f:3", "others.x.backend", "`servr` is not known", "Did you mean `server`?"),
]


@pytest.mark.parametrize(("text", "source", "path", "problem", "remedy"), WRONG, ids=[case[0] for case in WRONG])
def test_a_mistake_is_named_with_its_remedy(text: str, source: str, path: str, problem: str, remedy: str) -> None:
    """One problem for each mistake: the line, the path, what is wrong, and what would be right."""
    _, (found,) = read(text)
    assert (found.source, found.path) == (source, path)
    assert problem in found.problem
    assert remedy in found.remedy


def test_beside_a_wrong_word_only_what_no_group_knows_is_refused() -> None:
    """A word that is not known does not make mistakes of settings that may belong to the word that was meant."""
    value, problems = read("store: {backend: servr, urls: [a], amount: 0, zebra: 1}")
    assert [problem.path for problem in problems] == ["store.backend", "store.zebra", "store.amount"]
    assert value.store == Disk()


def test_a_mistake_around_the_group_hides_none_in_it() -> None:
    """A group that is set twice is read all the same, with what belongs to another word."""
    _, problems = read("store: {urls: [a]}\nstore: {}")
    assert [problem.path for problem in problems] == ["store", "store.urls"]


def test_the_environment_has_the_word_and_the_settings_that_it_brings() -> None:
    """A variable sets the word, and others are read by what the word has made of the group, in whatever order."""
    value, problems = read(
        "others: {Blue-1: {backend: server, urls: [a]}}",
        {
            "FORWARDER_STORE__AMOUNT": "7",
            "FORWARDER_STORE__BACKEND": "server",
            "FORWARDER_STORE__OPTIONS__REPLICAS": "2",
            "FORWARDER_STORE__URLS": "a,b",
            "FORWARDER_OTHERS__BLUE_1__AMOUNT": "8",
            "FORWARDER_OTHERS__NEW__AMOUNT": "1KiB",
            "FORWARDER_OTHERS__NEW__OPTIONS__SYNC": "2",
        },
    )
    assert problems == []
    assert value.store == Server(urls=("a", "b"), amount=7, options=ServerOptions(replicas=2))
    assert value.others == {
        "Blue-1": Server(urls=("a",), amount=8),
        "new": Disk(amount=1024, options=DiskOptions(sync=2)),
    }


@pytest.mark.parametrize(
    ("name", "value", "path", "words"),
    [
        ("FORWARDER_STORE__BACKEND", "servr", "store.backend", "`servr` is not known. Did you mean `server`?"),
        ("FORWARDER_STORE__BACKEND", "tape", "store.backend", "`tape` cannot stand here"),
        ("FORWARDER_STORE__BACKENT", "disk", "", "names no setting. Did you mean `FORWARDER_STORE__BACKEND`?"),
        ("FORWARDER_STORE__URLZ", "a", "", "names no setting. Did you mean `FORWARDER_STORE__URLS`?"),
        ("FORWARDER_STORE__URLS", "a", "store.urls", "is a setting of `backend: server`, and this is `backend: disk`"),
        ("FORWARDER_STORE__OPTIONS__REPLICAS", "2", "store.options.replicas", "is not a setting. Known here: sync."),
        ("FORWARDER_STORE", "server", "store", "what stands here is text, but a group of settings is wanted"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, path: str, words: str) -> None:
    """The problem names the variable and what would be right."""
    _, (found,) = read("", {name: value})
    assert (found.source, found.path) == (name, path)
    assert words in f"{found.problem}. {found.remedy}"


def test_what_one_of_the_groups_keeps_secret_is_hidden_in_each() -> None:
    """Secrecy does not wait for the word: what is a secret for one group is repeated for none."""
    for text in (
        "store: {password_file: S3KRET}",
        "store: {backend: server, urls: [a], password_file: S3KRET}",
        "store: {backend: servr, password_file: [S3KRET]}",
        "store: {password_file: {S3KRET: 1, S3KRET: 2}}",
        "store: {password: {S3KRET: !x 1}}",
        "store: {backend: [S3KRET, {S3KRET: 1, S3KRET: 2}]}",
        "store: S3KRET",
    ):
        _, problems = read(text)
        assert problems
        assert "S3KRET" not in "".join(map(str, problems))
    assert not any(
        hides(STORES, path) for path in ("", "store", "store.options", "others", "others.x", "others.x.options")
    )
    assert all(hides(STORES, path) for path in ("store.labels", "others.x.labels", "store.options.replicas", "zebra"))


def test_a_value_is_shown_as_the_group_that_it_is() -> None:
    """What is shown has the word, and reads back as the same value."""
    value, _ = read("store: {backend: server, urls: [a]}\nothers: {x: {path: /x}, y: {backend: server, urls: b}}")
    shown = STORES.show(value)
    assert shown["store"]["backend"] == "server"
    assert list(shown["others"]["x"]) == ["backend", "path", "amount", "options", "labels"]
    assert read(dump(shown)) == (value, [])
    assert list(VALIDATOR.iter_errors(shown)) == []


@pytest.mark.parametrize(
    "text", ["{}", "store:", "store: {amount: 1KiB}", "store: {backend: server, urls: a, amount: 7}"]
)
def test_the_schema_takes_what_reading_takes(text: str) -> None:
    """Exactly one of the groups fits, the first where the word is left out."""
    assert read(text)[1] == []
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("text", [case[0] for case in WRONG])
def test_the_schema_refuses_what_reading_refuses(text: str) -> None:
    """Editors underline the same mistakes."""
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def test_the_schema_is_one_of_the_groups_each_with_its_word() -> None:
    """Each group is told by the constant that its word is; only the first can do without."""
    schema: dict[str, Any] = STORES.schema()["properties"]["store"]
    assert schema.keys() == {"description", "oneOf"}
    assert schema["description"] == "The store."
    assert [group["properties"]["backend"]["const"] for group in schema["oneOf"]] == ["disk", "server"]
    assert ["backend" in group.get("required", []) for group in schema["oneOf"]] == [False, True]


def test_the_reference_file_has_the_other_groups_as_comments() -> None:
    """The group that is used stands there, those that it could be stand below it, ready to be uncommented."""
    lines = list(commented(STORES, Stores(others={"x": Server(urls=("b",))})))
    assert read("\n".join(lines)) == (Stores(others={"x": Server(urls=("b",))}), [])
    text = "\n".join(lines)
    begin = text.index("  # With `backend: server`, in place of these:\n")
    other = text[begin : text.index("\n\n", begin)].partition("\n")[2]
    assert read("store:\n" + re.sub("(?m)^  # ", "  ", other)) == (Stores(store=Server(urls=("nats://a",))), [])
    assert "    # With `backend: disk`, in place of these:\n    # # Where events are.\n    # backend: disk\n" in text


def test_a_union_that_is_needed_can_be_left_out() -> None:
    """As with a group, only what the first of its groups requires is missed."""
    reading = Reading({})
    assert Group(Needed).read(Section({}, "f:1"), "", reading) == Needed(store=Disk())
    assert reading.problems == []


def test_a_stand_in_is_the_first_group() -> None:
    """What could not be read at all becomes the first group with its defaults."""
    assert read("store: [x]\nothers: {x: [x]}")[0] == Stores()
    assert Stores.__dataclass_fields__["store"].default == Disk()
