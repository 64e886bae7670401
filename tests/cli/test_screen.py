"""The views of `top`, and what its keys do."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.admin.dead import DeadLine
from forwarder.admin.status import DestinationState, Status
from forwarder.cli.overview import Drawing
from forwarder.cli.screen import Act, Screen, chart
from forwarder.model import State
from tests.cli.statuses import NOW, destination, status, text

HOW = Drawing(80, True, NOW)
HELD = destination(State.HOLDING, attempts=3, reason="it answered 403", next_step="register the key")


def letters(count: int, event: bytes = b'{"eventType":"x"}') -> list[DeadLine]:
    made = []
    for number in range(1, count + 1):
        died = ("rejected", 400, "bad \x1b[2J", NOW, NOW, msgspec.Raw(event))
        made.append(DeadLine(number, "audit", f"00000000-0000-4000-8000-{number:012}", *died))
    return made


def showing(found: Status | None = None) -> Screen:
    screen = Screen()
    screen.saw(found or status({"main": destination(), "audit": HELD}), 0.0)
    return screen


def shown(screen: Screen, height: int = 24, how: Drawing = HOW) -> list[str]:
    lines = text(screen.lines(height, how))
    assert len(lines) == height
    return lines


def marked(screen: Screen) -> list[str]:
    """Return the lines that are shown as selected."""
    lines = screen.lines(24, HOW)
    return ["".join(words for words, _ in line) for line in lines if any("reverse" in style for _, style in line)]


def test_before_the_first_answer() -> None:
    """As long as the daemon has said nothing, that is what is shown, and keys that need a destination do nothing."""
    screen = Screen()
    assert shown(screen)[0] == "asking the daemon…"
    assert screen.press("p") is None
    assert screen.press("down") is None
    assert screen.press("q") == Act("quit")


def test_the_first_destination_is_selected() -> None:
    """One destination is always selected, and what is said of it stands below the table, with charts."""
    screen = showing()
    assert [line.split()[:2] for line in marked(screen)] == [["main", "idle"]]
    screen.press("down")
    [line] = marked(screen)
    assert line.split()[:2] == ["audit", "holding"]
    below = shown(screen)[7:]
    assert below[0] == "audit: holding, 3 failed in a row"
    assert [title.split()[0] for title in below[1:4]] == ["in/s", "out/s", "queued"]
    assert below[4:6] == ["  why: it answered 403", "  next: register the key"]


@pytest.mark.parametrize(
    ("key", "verb"), [("p", "pause"), ("r", "resume"), ("f", "flush"), ("d", "dead"), ("enter", "dead")]
)
def test_keys_act_on_the_selected_destination(key: str, verb: str) -> None:
    """Each key names the destination that is selected at that moment."""
    screen = showing()
    screen.press("j")
    found = screen.press(key)
    assert found is not None
    assert (found.verb, found.destination) == (verb, "audit")


def test_the_selection_stays_within_the_list() -> None:
    """It stops at both ends, and goes to the first where the selected one is gone."""
    screen = showing()
    for key, name in (("up", "main"), ("down", "audit"), ("down", "audit"), ("k", "main"), ("down", "audit")):
        screen.press(key)
        assert marked(screen)[0].startswith(name)
    screen.saw(status({"main": destination(), "other": destination()}), 2.0)
    assert marked(screen)[0].startswith("main")


def test_keys_without_a_meaning() -> None:
    """Any other key does nothing."""
    screen = showing()
    before = shown(screen)
    for key in ("x", "\x00", "esc", "left", "é"):
        assert screen.press(key) is None
    assert shown(screen) == before


def test_what_came_of_a_key() -> None:
    """It is told until the next key; control characters do not get through."""
    screen = showing()
    screen.note("main: paused \x1b[2J")
    assert shown(screen)[-2] == "main: paused \\u001b[2J"
    screen.press("down")
    assert shown(screen)[-2] == ""


def test_a_daemon_that_does_not_answer() -> None:
    """What it said last stays, marked as old, until it answers again."""
    screen = showing()
    screen.failed("unix:/x: nobody listens there")
    assert shown(screen)[-2] == "not up to date: unix:/x: nobody listens there"
    assert "audit" in "".join(shown(screen))
    screen.saw(status({"main": destination()}), 2.0)
    assert shown(screen)[-2] == ""


def test_charts() -> None:
    """Rates are those between two looks; a look soon after an act makes no sample, and counters may begin anew."""
    screen = Screen()
    totals = [(0.0, 0, 0), (2.0, 100, 20), (2.1, 500, 20), (4.0, 500, 60), (6.0, 0, 0)]
    for at, accepted, delivered in totals:
        found = destination(accepted=accepted, delivered=delivered, queued=accepted - delivered)
        screen.saw(status({"main": found}), at)
    lines = [line.split() for line in shown(screen) if line.startswith(("in/s", "out/s", "queued"))]
    assert lines == [["in/s", "0", "▃█▁"], ["out/s", "0", "▅█▁"], ["queued", "0", "▂█▁"]]


def test_charts_fit() -> None:
    """There are as many samples as there is room for, the latest ones."""
    screen = Screen()
    for look in range(200):
        screen.saw(status({"main": destination(accepted=look * look)}), 2.0 * look)
    for width in (80, 120, 200):
        assert max(map(len, shown(screen, how=Drawing(width, True, NOW)))) <= width


@pytest.mark.parametrize(
    ("values", "marks"),
    [([], ""), ([0, 0], "▁▁"), ([0, 1, 1000], "▁▂█"), ([5, 5], "██"), ([1, 2, 3, 4], "▃▅▆█")],
)
def test_chart(values: list[float], marks: str) -> None:
    """The highest is the most, and a little can be told from nothing."""
    assert chart(values, blocks=True) == marks
    assert len(chart(values, blocks=False).encode("ascii")) == len(values)


def test_dead_letters() -> None:
    """They are listed, one can be looked at, and each view leads back to the one before."""
    screen = showing()
    screen.press("down")
    screen.show_letters("audit", letters(3))
    assert shown(screen)[0] == "audit: 3 dead letters, the oldest first"
    screen.press("down")
    [line] = marked(screen)
    assert line.split()[:5] == ["2", "0.0s", "ago", "rejected", "400"]
    assert screen.press("p") is None
    assert screen.press("enter") is None
    one = shown(screen)
    assert one[0] == "id:          2"
    assert '  "eventType": "x"' in one
    assert not any("\x1b" in line for line in one)
    screen.press("esc")
    assert marked(screen)[0].split()[0] == "2"
    screen.press("left")
    assert marked(screen)[0].startswith("audit")


def test_no_dead_letters() -> None:
    """Where there are none the view stays, and says so; letters that come late for another one are not shown."""
    screen = showing()
    screen.show_letters("main", [])
    assert shown(screen)[-2] == "main: no dead letters"
    screen.show_letters("audit", letters(3))
    assert screen.view == "destinations"


def test_a_long_letter_is_scrolled() -> None:
    """An event of any length can be read to its end, and not beyond; long lines are broken."""
    screen = showing()
    event = msgspec.json.encode({f"field{number:03}": "y" * 100 for number in range(100)})
    screen.show_letters("main", letters(1, event))
    screen.press("enter")
    for _ in range(500):
        screen.press("down")
    assert shown(screen, 24)[0] == "}"
    for _ in range(500):
        screen.press("up")
    assert shown(screen, 24)[0] == "id:          1"
    assert max(map(len, shown(screen, 100))) <= 80


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24, 60])
@pytest.mark.parametrize("count", [0, 1, 20, 500])
def test_every_size(height: int, count: int) -> None:
    """Whatever the size, as many lines as asked for are given, the keys last and the selected destination seen."""
    names = [f"destination-{number:03}" for number in range(count)]
    screen = showing(status(dict.fromkeys(names, HELD)))
    for _ in range(count // 2):
        screen.press("down")
    lines = shown(screen, height)
    assert "q quit" in lines[-1]
    if height >= 8 and count:
        assert len(marked(screen)) == 1
        assert any(line.startswith(names[count // 2]) for line in lines)


@given(
    st.lists(st.sampled_from(["up", "down", "enter", "esc", "d", "p", "q", "letters", "saw", "failed"]), max_size=30),
    st.integers(1, 40),
    st.integers(30, 200),
)
def test_no_sequence_breaks_it(steps: list[str], height: int, width: int) -> None:
    """Whatever is pressed and said in whatever order, there is a screen that fits in its height."""
    screen = Screen()
    many: dict[str, DestinationState] = {f"d{number}": HELD for number in range(9)}
    for at, step in enumerate(steps):
        if step == "letters":
            screen.show_letters("d0", letters(30))
        elif step == "saw":
            screen.saw(status(many), 2.0 * at)
        elif step == "failed":
            screen.failed("nobody listens")
        else:
            screen.press(step)
        assert len(screen.lines(height, Drawing(width, True, NOW))) == height
