"""The files of the dashboard fit each other, and carry nothing that its content security policy forbids."""

from __future__ import annotations

import json
import re

import pytest

from tests.page.sources import FOLDER, Document, code_of, read

PAGE = Document(read("index.html"))
SCRIPT = code_of(read("app.js"))
# Names that the script builds from parts.
BUILT = {"search-destination", "search-id", "search-source", "search-type", "search-text"}


def test_nothing_is_written_inline() -> None:
    """No code and no style stands inside the document, so that the policy can forbid both."""
    assert [
        tag for tag, attributes in PAGE.elements if tag == "style" or (tag == "script" and "src" not in attributes)
    ] == []
    inline = [
        name for _tag, attributes in PAGE.elements for name in attributes if name == "style" or name.startswith("on")
    ]
    assert inline == []
    assert not re.search(r"javascript:", read("index.html"), re.IGNORECASE)


def test_nothing_comes_from_elsewhere() -> None:
    """Whatever the page loads or links to is a file beside it, or a place in it."""
    links = PAGE.values("src", "href", "action", "data", "srcset", "poster")
    assert {link for link in links if not link.startswith("#")} == {"page/icon.svg", "page/style.css", "page/app.js"}
    for file in FOLDER.iterdir():
        addresses = re.findall(r"(?:\w+:)?//[\w.-]+\.\w+[^\s\"']*", file.read_text(encoding="utf-8"))
        assert [address for address in addresses if address != "http://www.w3.org/2000/svg"] == [], file.name
    assert not re.search(r"url\(|@import", read("style.css"))


@pytest.mark.parametrize(
    "way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "setHTML", "srcdoc"]
)
def test_text_never_becomes_markup(way: str) -> None:
    """The script has no way in which an event, an answer or a name could become an element."""
    assert way not in SCRIPT


def test_each_id_is_there_once() -> None:
    """An id names one element, and whatever refers to an id finds it."""
    ids = PAGE.values("id")
    assert len(ids) == len(set(ids))
    named = [
        name
        for value in PAGE.values("for", "aria-labelledby", "aria-describedby", "aria-controls")
        for name in value.split()
    ]
    targets = [link.removeprefix("#") for link in PAGE.values("href") if link.startswith("#")]
    assert {*named, *targets} - set(ids) == set()


def test_the_script_finds_what_it_looks_for() -> None:
    """Each id and each part that the script asks for is in the document, and each part there is filled."""
    asked = set(re.findall(r'byId\("([\w-]+)"\)', SCRIPT)) | BUILT
    listed = {
        name
        for group in re.findall(r"for \(const id of \[([^\]]+)\]", SCRIPT)
        for name in re.findall(r'"([\w-]+)"', group)
    }
    assert (asked | listed) - set(PAGE.values("id")) == set()
    parts = set(PAGE.values("data-part"))
    assert set(re.findall(r'part\("([\w-]+)"\)', SCRIPT)) - parts == set()
    assert {part for part in parts if not re.search(rf"\b{part}\b", SCRIPT)} == set()


def test_the_styles_are_of_the_page() -> None:
    """A style that names an id or a class which is nowhere is left over from something."""
    style = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "", read("style.css"), flags=re.DOTALL)
    ids = set(re.findall(r"#([a-z][\w-]*)", style))
    assert ids - set(PAGE.values("id")) == set()
    classes = {name for value in PAGE.values("class") for name in value.split()}
    made = set(re.findall(r'className: "(\w+)"', SCRIPT)) | {"quiet", "danger"}
    assert set(re.findall(r"\.([a-z][\w-]*)", style)) - classes - made == set()


def test_every_request_is_described() -> None:
    """Whatever the page asks for is in the description of the API."""
    described = json.loads((FOLDER.parent / "openapi.json").read_text(encoding="utf-8"))["paths"]
    asked = {f"/{path}" for path in re.findall(r'["`](v1/[^"`?]+)', SCRIPT)}
    # A part of a path that is not known before is any part.
    patterns = {path: re.sub(r"\$\{[^}]+\}", "[^/]+", path) for path in asked}
    assert {
        path for path, form in patterns.items() if not any(re.fullmatch(form, known) for known in described)
    } == set()
    assert len(asked) > 10
