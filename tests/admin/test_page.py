"""The files of the dashboard."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from forwarder.admin.entrance import Terms
from forwarder.admin.page import SAFE_HEADERS, Page, load
from forwarder.model import Address
from forwarder.web.reach import Reach
from tests.admin.serving import entrance

NOBODY = entrance(Address(path="/none"), Reach.FILE, Terms("s3cret")).rights(None)


async def test_files_are_served_with_their_type(tmp_path: Path) -> None:
    """The page comes from one folder; what is of another type, or elsewhere, is not there."""
    (tmp_path / "index.html").write_text("<p>here</p>")
    (tmp_path / "app.js").write_text("1")
    (tmp_path / "notes.md").write_text("#")
    (tmp_path / "folder").mkdir()
    page = Page(tmp_path)
    start = await page.start(make_mocked_request("GET", "/"), NOBODY)
    assert (start.body, start.content_type, start.charset) == (b"<p>here</p>", "text/html", "utf-8")
    for name, kind in {"app.js": "text/javascript", "index.html": "text/html"}.items():
        asked = make_mocked_request("GET", f"/page/{name}", match_info={"name": name})
        assert (await page.file(asked, NOBODY)).content_type == kind
    for name in ("notes.md", "folder", "../page.py", "nothing.js"):
        asked = make_mocked_request("GET", "/page/x", match_info={"name": name})
        with pytest.raises(web.HTTPNotFound):
            await page.file(asked, NOBODY)
    assert load(tmp_path / "nowhere") == {}


class _Parts(HTMLParser):
    """Collects what the policy would not let through."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.refused.append(tag)
        self.refused += [name for name in given if name == "style" or name.startswith("on")]
        for value in (given.get("src"), given.get("href")):
            if value is not None and re.match(r"(?i)[a-z]+:|//", value):
                self.refused.append(value)


def test_the_page_keeps_the_policy() -> None:
    """No file of the page has code or style inside the document, or names anything from elsewhere."""
    found = load(files("forwarder.admin") / "page")
    assert "index.html" in found
    for name, (body, kind) in found.items():
        if kind == "text/html":
            parts = _Parts()
            parts.feed(body.decode())
            assert parts.refused == [], name
        if kind == "text/css":
            assert b"@import" not in body, name
    assert "unsafe" not in SAFE_HEADERS["Content-Security-Policy"]
