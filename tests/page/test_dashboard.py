"""The dashboard in a real browser: what an operator sees and does, whatever events and answers contain."""

from __future__ import annotations

import time

import pytest

from forwarder.admin.steering import DestinationStatus
from forwarder.model import Counters, LastError, State
from forwarder.observe.facts import Condition
from tests.page.conftest import Opens, expect
from tests.page.daemon import HOSTILE, NOBODY, VIEWER, Daemon, letter

pytestmark = [pytest.mark.slow, pytest.mark.system]

LONG = "eu-west-1-customer-entitlements-and-licensing-production"


def held(detail: str = "unknown key") -> DestinationStatus:
    now = time.time()
    return DestinationStatus(
        State.HOLDING,
        attempts=3,
        next_attempt_in_seconds=240.0,
        last_error=LastError(now, 403, detail),
        since=now - 60,
        waiting_for="somebody to mend it",
    )


# --- what is seen ---------------------------------------------------------------------------------


def test_a_first_start_is_ready(daemon: Daemon, opened: Opens) -> None:
    """With nothing there yet the page says that all is ready, and how to hand in a first event."""
    daemon.steps = {"accepted": [], "delivered": [], "queued": []}
    page = opened()
    expect(page, "#verdict-words", "Ready: no event has come yet")
    expect(page, "#first", "forwarder send")
    expect(page, "#dead-none", "None.")
    # A history without a step has no greatest value either.
    for part in ("rate-most", "queue-most"):
        expect(page, f"#destination-main [data-part={part}]", "none")


def test_a_full_queue_is_not_full_soon(daemon: Daemon, opened: Opens) -> None:
    """Once it is full, nobody is told when it will be."""
    daemon.full = True
    page = opened()
    expect(page, "body", "Full since")
    assert page.get_by_text("Full at today's rate").count() == 0


def test_a_held_destination_says_why_and_what_to_do(daemon: Daemon, opened: Opens) -> None:
    """State, reason, next step and the next try stand at the destination, and the verdict names it."""
    daemon.pumps = {"audit": DestinationStatus(State.PAUSED), "main": held(), "other": DestinationStatus(State.IDLE)}
    daemon.counters = {"main": Counters(accepted=12, queued=5, delivered=4, dead=1, dropped=2)}
    page = opened()
    expect(page, "#verdict-words", "Events are held: main")
    expect(page, "#destination-main [data-part=state]", "Holding")
    expect(page, "#destination-main [data-part=since]", "since")
    expect(page, "#destination-main .advice", "It answered 403: unknown key.")
    expect(page, "#destination-main .advice", "Next step: is the public key registered there?")
    expect(page, "#destination-main .advice", "Waiting for somebody to mend it. Next try in")
    expect(page, "#destination-main .account", "12 accepted = 5 queued + 4 delivered + 1 dead + 2 dropped")
    assert page.title() == "Events are held: main · Event forwarder"
    # The worst comes first.
    assert page.locator("#troubles a").all_text_contents() == ["main", "audit"]


def test_warnings_are_shown_while_they_last(daemon: Daemon, opened: Opens) -> None:
    """A condition shows with its detail and next step, and goes when it has ended."""
    daemon.conditions = [Condition("queue.storage_failing", None, time.time(), "the disk is full")]
    page = opened()
    expect(page, "#warning-list", "The disk is full.")
    expect(page, "#warning-list", "Next step: free space")
    daemon.conditions = []
    page.locator("#warnings").wait_for(state="hidden")


def test_a_full_queue_is_the_first_thing_said(daemon: Daemon, opened: Opens) -> None:
    """A queue that refuses producers is worse than all that it may come from."""
    daemon.pumps["main"] = held()
    daemon.full, daemon.not_ready = True, "the queue is full"
    page = opened()
    expect(page, "#verdict-words", "Not accepting events: the queue is full")
    expect(page, "#queue-full", "Full")


def test_a_stopped_daemon_is_noticed_and_found_again(daemon: Daemon, opened: Opens) -> None:
    """Without a connection the page says since when, keeps what it knew, lets nobody act, and connects again."""
    page = opened()
    expect(page, "#connection", "Live")
    daemon.stop()
    expect(page, "#connection", "Not connected since")
    expect(page, "#destination-main .state", "Idle")
    assert page.locator("#destination-main [data-part=pause]").is_disabled()
    daemon.start()
    expect(page, "#connection", "Live")
    assert page.locator("#destination-main [data-part=pause]").is_enabled()


def test_charts_say_what_they_show(daemon: Daemon, opened: Opens) -> None:
    """A chart tells its highest point and its average in words, has a gap where nothing is known, and may be empty."""
    page = opened()
    expect(page, "#destination-main [data-part=rate-most]", "at most 2/s")
    expect(page, "#destination-main [data-part=queue-most]", "at most 20")
    rates = page.locator("#destination-main [data-part=rates]")
    assert rates.get_attribute("aria-label") == (
        "In: 1.2/s on average, at most 2/s. Out: 0.5/s on average, at most 1/s. Over the last hour."
    )
    assert (rates.locator(".in").get_attribute("d") or "").startswith("M100.0 ")
    daemon.steps = {"accepted": [], "delivered": [], "queued": []}
    page.get_by_text("Day", exact=True).click()
    expect(page, "#destination-main [data-part=rate-most]", "none")
    expect(page, "#destination-main [data-part=queue-most]", "none")


def test_a_daemon_without_a_status_says_why(daemon: Daemon, opened: Opens) -> None:
    """Where the daemon is there and cannot say how it is, its words are shown, and the status once there is one."""
    daemon.problem = b'{"detail": "the storage is failing", "hint": "look at the disk"}'
    page = opened()
    expect(page, "#loading", "The storage is failing. Look at the disk.")
    daemon.problem = None
    expect(page, "#verdict-words", "Ready")


def test_text_from_outside_stays_text(daemon: Daemon, opened: Opens) -> None:
    """Events, answers, names and refusals full of HTML and script show as they are, and nothing of them runs."""
    daemon.pumps = {"main": held(HOSTILE), HOSTILE: DestinationStatus(State.IDLE)}
    event = f'{{"eventSourceId":"a","eventType":"b","data":{{"x":{HOSTILE!r}}}}}'.replace("'", '"')
    event = event.replace('onerror="window.wasRun=true"', 'onerror=\\"window.wasRun=true\\"')
    daemon.letters = [letter(1, detail=f"422 {HOSTILE}", event=event.encode())]
    page = opened()
    expect(page, "#destination-main .advice", HOSTILE)
    expect(page, "#destination-list h3", HOSTILE)
    expect(page, "#refusal-list", HOSTILE)
    assert page.locator("#group-list .said").first.text_content() == f"422 {HOSTILE}"
    page.get_by_role("button", name="Show: main, rejected").click()
    page.locator("#letter-list button").click()
    expect(page, "#letter-event", 'onerror=\\"window.wasRun=true\\"')
    assert page.evaluate("window.wasRun") is None
    assert page.locator("main img, main script, dialog img, dialog script").count() == 0


# --- what is done ---------------------------------------------------------------------------------


def test_an_operator_steers(daemon: Daemon, opened: Opens) -> None:
    """The buttons of a destination ask for what they say, and the page says what was done."""
    daemon.pumps["main"] = held()
    page = opened()
    page.get_by_role("button", name="Try now: main").click()
    expect(page, "#message", "main: delivering goes on.")
    page.get_by_role("button", name="Pause: main").click()
    expect(page, "#message", "main: paused.")
    daemon.pumps["main"] = DestinationStatus(State.PAUSED)
    page.get_by_role("button", name="Resume: main").click()
    expect(page, "#message", "main: delivering goes on.")
    assert [path.rpartition("/")[2] for path, _body in daemon.told] == ["resume", "pause", "resume"]


def test_a_purge_asks_first(daemon: Daemon, opened: Opens) -> None:
    """What cannot be undone is done only after a second word, to exactly what was shown, and its result is said."""
    daemon.letters = [letter(1), letter(2, detail="other"), letter(3)]
    page = opened()
    purge = page.get_by_role("button", name="Purge: main, rejected 422 unknown type")
    purge.click()
    expect(
        page, "#confirm-text", "This drops 2 dead letters (destination main, reason rejected, answer 422 unknown type)"
    )
    page.keyboard.press("Escape")
    page.locator("#confirm").wait_for(state="hidden")
    assert daemon.told == []
    assert purge.evaluate("node => node === document.activeElement")
    purge.click()
    page.get_by_role("button", name="Purge 2 dead letters").click()
    expect(page, "#message", "Purged 2 dead letters")
    expect(page, "#dead-title", "Dead letters: 1")
    # The row with the button is gone: the focus is at the heading, and a screen reader has heard what was done.
    assert page.evaluate("document.activeElement.id") == "dead-title"
    expect(page, "#announcer", "Purged 2 dead letters")
    group = {"destination": "main", "reason": "rejected", "status": 422, "detail": "unknown type"}
    assert daemon.told == [("/v1/dead/purge", group)]


def test_a_group_of_various_answers_is_acted_on_whole(daemon: Daemon, opened: Opens) -> None:
    """Rare answers are one group; what finds it finds all answers of that status, and so many are asked about."""
    daemon.letters = [letter(1, detail="one"), letter(2, detail="two"), letter(3, detail="common")]
    times = {"first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z"}
    alike = {"destination": "main", "reason": "rejected", "status": 422, **times}
    daemon.groups = [{**alike, "detail": None, "events": 2}, {**alike, "detail": "common", "events": 1}]
    page = opened()
    page.get_by_role("button", name="Purge: main, rejected 422 (various)").click()
    expect(page, "#confirm-text", "This drops 3 dead letters (destination main, reason rejected, answer 422)")
    page.get_by_role("button", name="Purge 3 dead letters").click()
    expect(page, "#message", "Purged 3 dead letters")
    assert daemon.told == [("/v1/dead/purge", {"destination": "main", "reason": "rejected", "status": 422})]


def test_groups_of_a_moment_ago_are_asked_for_again(daemon: Daemon, opened: Opens) -> None:
    """The daemon groups at most every so often: where its groups lag behind its status, the page asks again."""
    daemon.letters = [letter(1)]
    daemon.groups = []
    page = opened()
    expect(page, "#dead-title", "Dead letters: 1")
    daemon.groups = None
    expect(page, "#group-list", "unknown type")


def test_an_event_is_edited_as_it_was_written(daemon: Daemon, opened: Opens) -> None:
    """Edit-and-replay sends exactly the text of the editor: no number changes, and mistakes are shown beside it."""
    numbers = b'{"a":12345678901234567890.10,"b":1E400,"c":[],"d":{"e":"\\u00e9 : , {"}}'
    daemon.letters = [letter(1, event=numbers)]
    daemon.errors = [{"index": 0, "field": "eventType", "message": "is missing"}]
    page = opened()
    page.get_by_role("button", name="Show: main").click()
    page.get_by_role("button", name="event-1").click()
    page.get_by_role("button", name="Edit and replay").click()
    text = page.locator("#editor-text").input_value()
    assert "".join(text.split()) == numbers.decode().replace(" ", "")
    assert '"c": [],\n  "d": {\n    "e": "\\u00e9 : , {"' in text
    page.get_by_role("button", name="Check and replay").click()
    expect(page, "#editor-problem", "eventType: is missing")
    daemon.errors = []
    page.get_by_role("button", name="Check and replay").click()
    expect(page, "#message", "Replayed event-1 as edited")
    assert daemon.told[-1] == ("/v1/dead/edit", {"destination": "main", "id": 1, "event": text})


def test_dead_letters_are_searched_and_paged(daemon: Daemon, opened: Opens) -> None:
    """Twenty-five are shown at a time; what is searched for is what the acts beside it are about."""
    daemon.letters = [letter(number, event=b'{"n":"%d"}' % (number % 2)) for number in range(1, 71)]
    page = opened()
    page.get_by_label("Text").fill('"n":"1"')
    page.get_by_role("button", name="Search").click()
    expect(page, "#letter-pager", "1\N{EN DASH}25")
    pager = page.get_by_role("group", name="Pages of dead letters")
    pager.get_by_role("button", name="Next").click()
    expect(page, "#letter-pager", "26\N{EN DASH}35")
    assert page.locator("#letter-list tr").count() == 10
    pager.get_by_role("button", name="Back").click()
    expect(page, "#letter-list", "event-1")
    page.get_by_role("button", name="Replay all of these").click()
    expect(page, "#message", "Replayed 35 dead letters")
    assert daemon.told == [("/v1/dead/replay", {"text": '"n":"1"'})]
    # What one has done oneself is no news; what changes later is.
    expect(page, "#dead-title", "Dead letters: 35")
    assert not page.locator("#letters-changed").is_visible()
    deadline = time.monotonic() + 20
    while page.evaluate("deadListed") is None and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    daemon.letters.append(letter(99))
    expect(page, "#letters-changed", "There are other dead letters now.")


# --- who may ----------------------------------------------------------------------------------------


def test_a_viewer_looks_only(daemon: Daemon, opened: Opens) -> None:
    """A viewer sees states and groups, but no button that acts, and no event."""
    daemon.session = dict(VIEWER)
    daemon.pumps["main"] = held()
    daemon.letters = [letter(number) for number in range(1, 6)]
    group = {"destination": "main", "reason": "rejected", "status": 422, "detail": None, "events": 5}
    daemon.groups = [{**group, "first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z"}]
    page = opened()
    expect(page, "#role", "Looking only: the viewers' token")
    expect(page, "#group-list", "rejected")
    assert page.locator("#group-list tr").count() == 1
    assert page.locator("#group-list .number").text_content() == "5"
    assert "1 Jan" in (page.locator("#group-list .whole").nth(1).text_content() or "")
    page.locator("#letters").wait_for(state="hidden")
    assert page.locator("button[data-acts]:visible, #search:visible").count() == 0


def test_a_token_is_asked_for(daemon: Daemon, opened: Opens) -> None:
    """Where a token is needed there is only a form; a wrong one is told, the right one opens the page."""
    daemon.session = dict(NOBODY)
    page = opened()
    page.get_by_label("Token").fill("guess")
    page.keyboard.press("Enter")
    expect(page, "#login-problem", "The token is wrong.")
    page.get_by_label("Token").fill(daemon.token)
    page.get_by_role("button", name="Log in").click()
    expect(page, "#verdict-words", "Ready")
    page.locator("#login").wait_for(state="hidden")


# --- for everybody ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_nobody_is_shut_out(daemon: Daemon, opened: Opens, width: int, theme: str) -> None:
    """axe finds nothing serious in any part of the page, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    daemon.pumps = {"main": held(), LONG: DestinationStatus(State.BACKING_OFF, attempts=2), "p": held()}
    daemon.conditions = [Condition("queue.storage_failing", None, time.time(), "the disk is full")]
    daemon.letters = [letter(number) for number in range(1, 40)]
    page = opened(width, color_scheme=theme)

    def examine(part: str) -> None:
        found = axe.run(page).response["violations"]
        serious = [each for each in found if each["impact"] in {"serious", "critical"}]
        assert [(part, each["id"], [node["target"] for node in each["nodes"]]) for each in serious] == []

    page.get_by_role("button", name="Show: main").click()
    expect(page, "#letter-list", "event-1")
    examine("page")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="event-1", exact=True).click()
    examine("letter")
    page.get_by_role("button", name="Edit and replay").click()
    examine("editor")


def test_everything_is_done_with_the_keyboard(daemon: Daemon, opened: Opens) -> None:
    """The first key leads past the header, a destination folds by a key, and a dialog gives the focus back."""
    daemon.letters = [letter(1)]
    page = opened()
    expect(page, "#connection", "Live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    toggle = page.locator("#destination-main [data-part=toggle]")
    assert toggle.get_attribute("aria-expanded") == "true"
    toggle.focus()
    page.keyboard.press("Enter")
    assert toggle.get_attribute("aria-expanded") == "false"
    page.get_by_role("button", name="Show: main").focus()
    page.keyboard.press("Enter")
    letter_button = page.get_by_role("button", name="event-1")
    letter_button.focus()
    page.keyboard.press("Enter")
    expect(page, "#letter-title", "Event event-1")
    page.keyboard.press("Escape")
    assert letter_button.evaluate("node => node === document.activeElement")


def test_the_page_does_not_grow(daemon: Daemon, opened: Opens) -> None:
    """Statuses change what is there: after many of them there is not one node more, with twenty destinations."""
    daemon.pumps = {f"destination-{number}": DestinationStatus(State.DELIVERING) for number in range(20)}
    page = opened()
    expect(page, "#connection", "Live")
    page.locator(".destination").nth(19).wait_for()

    def nodes_after(statuses: int) -> int:
        page.evaluate(
            """async (statuses) => {
                const data = JSON.stringify(status);
                for (let done = 0; done < statuses; done += 1) {
                    const told = JSON.parse(data);
                    for (const each of Object.values(told.destinations)) each.queued = done;
                    heard({ data: JSON.stringify(told) });
                }
            }""",
            statuses,
        )
        found = page.evaluate("document.getElementsByTagName('*').length")
        assert isinstance(found, int)
        return found

    assert nodes_after(1) == nodes_after(500)
