"""The dashboard as the admin API itself serves it: its policy, its session, its stream, and who is kept out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forwarder.admin.steering import DestinationStatus
from forwarder.model import LastError, State
from tests.admin.serving import Served, served_in_thread
from tests.page.conftest import expect
from tests.queue.watched import NOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in_thread(tmp_path, "main", "audit", token="right", tcp=True) as served:
        yield served


@pytest.fixture
def problems() -> list[str]:
    """What went wrong in the page: scripts that fail, and requests that are refused."""
    return []


@pytest.fixture
def page(browser: Browser, served: Served, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "response", lambda answer: problems.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
    )
    page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
    page.goto(f"http://127.0.0.1:{served.address.port}/")
    yield page
    context.close()


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_an_operator_works(page: Page, served: Served, problems: list[str]) -> None:
    """From the login to the logout nothing is refused, and what was done stands among the last acts."""
    error = LastError(NOW, 403, "403 Forbidden")
    served.daemon.states["main"] = DestinationStatus(State.HOLDING, attempts=2, last_error=error)
    log_in(page, "right")
    expect(page, "#verdict-words", "Events are held: main")
    expect(page, "#destination-main .advice", "It answered 403 Forbidden.")
    page.get_by_role("button", name="Try now: main").click()
    expect(page, "#message", "main: delivering goes on.")
    expect(page, "#act-list", "resume")
    served.daemon.states["main"] = DestinationStatus(State.IDLE)
    page.locator("#troubles").wait_for(state="hidden")
    page.get_by_role("button", name="Read it again").click()
    expect(page, "#message", "Configuration and keys were read again")
    page.locator("#configuration-more summary").click()
    expect(page, "#configuration-text", "queue: {}")
    page.get_by_role("button", name="Log out").click()
    page.locator("#login").wait_for(state="visible")
    assert (served.daemon.told, served.reloads.asked) == ([("resume", "main")], 1)
    assert problems == []


def test_a_wrong_token_is_told(page: Page, served: Served) -> None:
    """The form says that the token is wrong, and shows nothing else."""
    log_in(page, "wrong")
    expect(page, "#login-problem", "The bearer token is wrong.")
    page.locator("#content").wait_for(state="hidden")


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """Another server of this machine: its pages come with the same cookies, as those do not tell ports apart."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/index.html").write_text("<!doctype html><title>Other</title>")
    handler = partial(Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join(10)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        pass


def test_another_site_can_do_nothing(page: Page, served: Served, other_site: str) -> None:
    """With an operator logged in, a page of another origin neither acts, nor reads, nor frames the dashboard."""
    log_in(page, "right")
    expect(page, "#connection", "Live")
    other = page.context.new_page()
    other.goto(other_site)
    tried = other.evaluate(
        """async (url) => {
            const send = (path, options) => fetch(url + path, options).then(() => "done", () => "failed");
            const act = { method: "POST", credentials: "include" };
            const frame = document.createElement("iframe");
            frame.src = url;
            document.body.append(frame);
            await new Promise((resolve) => { frame.onload = resolve; });
            return [
                await send("v1/status", { credentials: "include" }),
                await send("v1/destinations/main/pause", { ...act, headers: { "X-Forwarder-Act": "1" } }),
                await send("v1/destinations/main/pause", { ...act, mode: "no-cors" }),
            ];
        }""",
        f"http://127.0.0.1:{served.address.port}/",
    )
    assert tried == ["failed", "failed", "failed"]
    assert other.frames[-1].locator("#verdict").count() == 0
    assert served.daemon.told == []


def test_dead_letters_are_found_edited_and_purged(page: Page, served: Served) -> None:
    """What is searched for is found, an edited event is checked and queued as it was written, and a purge is exact."""
    for number in range(30):
        served.queue.bury(event=b'{"eventSourceId":"shop","eventType":"login","data":{"n":%d}}' % number)
    served.queue.bury(event=b'{"eventSourceId":"shop","eventType":"sale","data":{"n":1.10,"m":12345678901234567890}}')
    served.queue.bury(detail="other", status=None)
    log_in(page, "right")
    expect(page, "#group-list", "400 bad event")
    page.get_by_label("Type").fill("sale")
    page.get_by_role("button", name="Search").click()
    page.locator("#letter-list button").click()
    expect(page, "#letter-event", '"n": 1.10')
    page.get_by_role("button", name="Edit and replay").click()
    text = page.locator("#editor-text").input_value()
    page.locator("#editor-text").fill(text.replace('"sale"', '""'))
    page.get_by_role("button", name="Check and replay").click()
    expect(page, "#editor-problem", "eventType: is required")
    page.locator("#editor-text").fill(text.replace('"sale"', '"refund"'))
    page.get_by_role("button", name="Check and replay").click()
    expect(page, "#message", "as edited")
    (queued,) = served.queue.queued()
    assert b'"eventType":"refund"' in queued.replace(b" ", b"")
    assert b'"n":1.10,"m":12345678901234567890' in queued.replace(b" ", b"").replace(b"\n", b"")
    page.get_by_role("button", name="Purge: main, rejected 400 bad event").click()
    page.get_by_role("button", name="Purge 30 dead letters").click()
    expect(page, "#message", "Purged 30 dead letters")
    assert [letter.detail for letter in served.queue.dead] == ["other"]
    expect(page, "#act-list", "purge dead letters")
