"""Chromium, and a page in it that shows what a daemon says.

Playwright is imported late: without it, or without Chromium, the tests that need it are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.page.daemon import Daemon, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opens = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e '.[dev]'")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root, as which CI runs.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running() as daemon:
        yield daemon


@pytest.fixture
def opened(browser: Browser, daemon: Daemon) -> Iterator[Opens]:
    """Open the page: `opened(width=360, color_scheme="dark")`. No script of it may fail, and no policy be broken."""
    contexts = []
    problems: list[str] = []

    def open_page(width: int = 1440, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        page.goto(daemon.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def expect(page: Page, selector: str, text: str) -> None:
    """Wait until an element that can be seen contains a text."""
    page.locator(selector, has_text=text).first.wait_for(state="visible")
