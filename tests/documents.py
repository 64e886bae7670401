"""The documentation as tests read it: its files, and their headings, samples, tables and links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = sorted(
    str(file.relative_to(ROOT))
    for folder, pattern in ((".", "*.md"), *((name, "**/*.md") for name in ("config", "forwarder", "systemd", "tests")))
    for file in (ROOT / folder).glob(pattern)
)

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")


def read(name: str) -> str:
    """Return the text of a document, which is named by its path in the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def without_samples(text: str) -> str:
    """Return a text of the same length with blanks in place of its fenced blocks."""
    return _FENCED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def section(name: str, heading: str) -> str:
    """Return what stands in a document below a heading, up to the next one of its level or above."""
    text = read(name)
    found = list(_HEADING.finditer(without_samples(text)))
    places = [place for place, match in enumerate(found) if match[2] == heading]
    assert len(places) == 1, f"{name}: {len(places)} headings are {heading!r}"
    (at,) = places
    ends = (match.start() for match in found[at + 1 :] if len(match[1]) <= len(found[at][1]))
    return text[found[at].end() : next(ends, len(text))]


def samples(text: str, language: str) -> list[str]:
    """Return the fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def sample(name: str, heading: str, language: str, containing: str = "") -> str:
    """Return the one block of a section in this language that contains these words."""
    found = [block for block in samples(section(name, heading), language) if containing in block]
    assert len(found) == 1, f"{name}, {heading}: {len(found)} blocks of {language} contain {containing!r}"
    return found[0]


def table(name: str, heading: str) -> list[list[str]]:
    """Return the rows of the one table of a section, without its head."""
    lines = [line for line in without_samples(section(name, heading)).splitlines() if line.startswith("|")]
    assert [set(line) <= set("|-") for line in lines].index(True) == 1, f"{name}, {heading}: not one table"
    # A bar that is escaped belongs to its cell.
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def quoted(text: str) -> list[str]:
    """Return what stands between backticks, outside of samples."""
    return re.findall(r"`([^`\n]+)`", without_samples(text))


def links(text: str) -> list[str]:
    """Return where the links of a text lead to, those to other sites left out."""
    return [link for link in _LINK.findall(without_samples(text)) if "://" not in link]


def headings(text: str, level: int | None = None) -> list[str]:
    """Return the anchors of a text's headings, as GitHub makes them: all of them, or those of one level."""
    found = [match for match in _HEADING.finditer(without_samples(text)) if level in (None, len(match[1]))]
    return [re.sub(r"[^\w\- ]", "", match[2].lower()).replace(" ", "-") for match in found]
