"""The files of the dashboard, taken apart without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "forwarder/admin/page"


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@dataclass
class Document(HTMLParser):
    """What the tests want to know of an HTML document."""

    text: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def values(self, *names: str) -> list[str]:
        """Return the values of these attributes, wherever they stand."""
        return [attributes[name] for _tag, attributes in self.elements for name in names if name in attributes]


def code_of(script: str) -> str:
    """Return a script without its comments, which may speak of what the code must not do."""
    return re.sub(r"/\*[\s\S]*?\*/|^\s*//.*$", "", script, flags=re.MULTILINE)
