"""YAML documents as nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.document import Items, Node, Scalar, Section, dump, parse
from forwarder.errors import Problem


def read(text: str) -> tuple[Node | None, list[Problem]]:
    problems: list[Problem] = []
    return parse(text, lambda line: f"f:{line}", problems), problems


def test_nodes_keep_what_was_written_and_where() -> None:
    """A scalar keeps its text, what YAML takes it for, and its line."""
    node, problems = read('a: 0660\nb:\n  - on\n  - "on"\nc:\n')
    assert problems == []
    assert node == Section(
        {
            "a": Scalar("0660", "int", "f:1"),
            "b": Items([Scalar("on", "bool", "f:3"), Scalar("on", "str", "f:4")], "f:3"),
            "c": Scalar("", "null", "f:5"),
        },
        "f:1",
    )


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_a_document_without_content_is_none(text: str) -> None:
    """Nothing and comments alone are no document, and no problem of YAML's."""
    assert read(text) == (None, [])


@pytest.mark.parametrize(
    ("text", "source", "path", "words"),
    [
        ("a: 1\na: 2", "f:2", "a", "is set twice, first in line 1. Leave one of the two"),
        ("a:\n  b: 1\n  'b': 2", "f:3", "a.b", "is set twice, first in line 2"),
        ("a: [{b: 1, b: 2}]", "f:1", "a[0].b", "is set twice"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "f:3", "c.<<", "merge keys are not supported. Write the settings out"),
        ("a: !!python/object:os.system x", "f:1", "a", "YAML tags are not supported. Write the value without a tag"),
        ("a: !secret x", "f:1", "a", "YAML tags are not supported"),
        ("a: !!binary aGk=", "f:1", "a", "are not supported"),
        ("a: !!set {b}", "f:1", "a", "are not supported"),
        ("a: !!omap [b: c]", "f:1", "a", "are not supported"),
        ("? {a: b}\n: c", "f:1", "", "stands where a name is wanted"),
        ("a: b\n  c: d", "f:2", "", "mapping values are not allowed here (line 2, column 4). Mend that place"),
        ("a:\n\tb: 1", "f:2", "", "(line 2, column 1). Indent with spaces, not with tabs"),
        ("a: {\n b: ${C}/d}", "f:2", "", 'Put a value with ${…} in quotes, such as "${CREDENTIALS_DIRECTORY}/key.pem"'),
        ("a: {\r b: ${C}/d}", "f:2", "", "Put a value with ${…} in quotes"),
        ("a: b\u2028  c: d", "f:2", "", "mapping values are not allowed here (line 2, column 4)"),
        ("a:\r\n  b: 1\r\n c: 2", "f:3", "", "is not YAML: while parsing a block mapping"),
        ("a: 1\rb: \x07", "f:2", "", "the character 0x0007 is not allowed (line 2, column 4)"),
        ("a: [1, 2", "f:1", "", "is not YAML: while parsing a flow sequence"),
        ("a: 'x", "f:1", "", "is not YAML: while scanning a quoted scalar"),
        ("a: *nobody", "f:1", "", "found undefined alias (line 1, column 4)"),
        ("a: 1\n---\nb: 2", "f:2", "", "expected a single document"),
        ("a: 1\nb: \x07", "f:2", "", "the character 0x0007 is not allowed (line 2, column 4). Remove that character"),
        ("[" * 5000, "f:1", "", "is nested too deeply"),
        ("a: &x [*x]", "f:1", "", "is nested too deeply, or contains itself"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(text: str, source: str, path: str, words: str) -> None:
    """Broken YAML, keys that are set twice, tags and merge keys are problems with a place and a remedy."""
    _, problems = read(text)
    assert [(problem.source, problem.path) for problem in problems] == [(source, path)]
    assert words in f"{problems[0].problem}. {problems[0].remedy}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: *S3KRET", "found undefined alias"),
        ("a: *S3KRET'x\"y", "expected alphabetic or numeric character"),
        ("a: &S3KRET 1\nb: &S3KRET 2\nc: *S3KRET2", "found duplicate anchor"),
        ("a: !S3KRET!x 1", "found undefined tag handle"),
        ("a: !S3KRET", "YAML tags"),
        ("a: !<tag:yaml.org,2002:S3KRET> 1", "YAML tags"),
        ("a: !!S3KRET 1", "YAML tags"),
        ("a: %S3KRET", "found character '%' that cannot start any token"),
        ("a: @S3KRET", "found character '@' that cannot start any token"),
        ("%S3KRET 1\n--- a", ""),
        ('a: "\\S3KRET"', "found unknown escape character 'S'"),
        ("a: |S3KRET", "but found 'S'"),
        ("a: 'x'S3KRET", "but found '<scalar>'"),
        ("a: [x S3KRET: y: z]", ""),
        ("a: {S3KRET", "but got '<stream end>'"),
        ("a: {<<: *S3KRET}", "found undefined alias"),
    ],
)
def test_yaml_repeats_nothing(text: str, words: str) -> None:
    """What YAML takes for an alias, a tag or a mistake may be a password: its messages name what is wrong alone."""
    _, problems = read(text)
    said = "\n".join(map(str, problems))
    assert words in said
    assert "S3KRET" not in said


def test_names_below_what_is_hidden() -> None:
    """Below a place that may hold a secret, mistakes are told of that place, without a name and a number."""
    problems: list[Problem] = []
    text = "a:\n  b: [{S3KRET: 1, S3KRET: 2}, !x 3]\n  c: {d: 1, d: 2}"
    parse(text, lambda line: f"f:{line}", problems, hides=lambda path: path.startswith("a.b"))
    assert [problem.path for problem in problems] == ["a.b", "a.b", "a.c.d"]
    assert "S3KRET" not in "".join(map(str, problems))


def test_aliases_cannot_blow_a_small_file_up() -> None:
    """Nodes that aliases share stay shared."""
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    node, problems = read("\n".join(lines))
    assert problems == []
    assert isinstance(node, Section)
    top = node.entries["a29"]
    assert isinstance(top, Items)
    assert top.items[0] is top.items[8] is node.entries["a28"]


@given(st.text(st.sampled_from("a:-[]{}#&*!|>'\"%@`,?\t\n \\0<=~.")) | st.text())
def test_any_text_gives_a_document_or_problems(text: str) -> None:
    """No text makes reading fail in another way, and what is broken has a place."""
    node, problems = read(text)
    assert node is None or isinstance(node, Scalar | Items | Section)
    assert all(problem.source.startswith("f:") and problem.remedy for problem in problems)


def test_values_are_written_in_their_order() -> None:
    """Dumped YAML keeps the order of keys; inline it stays on one line."""
    value = {"b": "on", "a": [None, "0660", 1]}
    assert dump(value) == "b: 'on'\na:\n- null\n- '0660'\n- 1\n"
    assert dump(value, inline=True) == "{b: 'on', a: [null, '0660', 1]}"
    assert dump("4GiB", inline=True) == "4GiB"
