"""What `status` and `top` show, in lines of a given width."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.admin.status import ErrorState, QueueState, ReloadState, Status, Warned, WayState
from forwarder.cli.overview import Drawing, details, drawing, head, state_word, table
from forwarder.model import State
from tests.cli.statuses import NOW, destination, status, text

NARROW = Drawing(80, True, NOW)
WIDE = Drawing(200, True, NOW)
PIPE = Drawing(None, True, NOW)


HELD = destination(
    State.HOLDING,
    accepted=12_345_678,
    queued=1_234_567,
    delivered=11_111_111,
    dead=3,
    since=NOW - timedelta(hours=2),
    oldest_age_seconds=7200.0,
    rate_in=193_000.4,
    rate_out=0.0,
    attempts=12,
    next_attempt_in_seconds=252.0,
    last_error=ErrorState(NOW, 403, "no \x1b[2J"),
    reason="it answered 403: no \x1b[2J",
    waiting_for="somebody to mend it",
    next_step="register the key, then: forwarder queue resume -d main",
)


def screen(found: Status, how: Drawing) -> list[str]:
    return text([*head(found, how), *table(found.destinations, how), *details(found.destinations, how)])


def test_where_events_are_stuck() -> None:
    """In 80 columns there are state, since when, how many and how old, how fast, how long it takes, and the dead."""
    working = destination(
        State.DELIVERING, queued=50, since=NOW - timedelta(days=4), rate_in=10.0, rate_out=510.0, drain_seconds=61.0
    )
    assert text(table({"main": HELD, "audit": working}, NARROW)) == [
        "DESTINATION  STATE       SINCE  QUEUED  OLDEST  IN/s  OUT/s  DRAIN  DEAD",
        "main         holding      2.0h    1.2M    2.0h  193k      0  grows     3",
        "audit        delivering   4.0d      50       -    10    510   1min     0",
    ]


def test_a_wide_screen_shows_the_whole_account() -> None:
    """Where there is room, and in a pipe, the exact numbers of the account are there, too."""
    for how in (WIDE, PIPE):
        heading, line = text(table({"main": HELD}, how))
        assert heading.split()[-3:] == ["ACCEPTED", "DELIVERED", "DROPPED"]
        assert line.split()[-3:] == ["12,345,678", "11,111,111", "0"]


def test_why_and_what_next() -> None:
    """A destination that does not deliver says since when, what it answered, what is waited for and what to do."""
    assert text(details({"main": HELD, "idle": destination()}, NARROW)) == [
        "main: holding, since 2026-03-01T12:00:00Z, 12 failed in a row, next attempt in",
        "  4min 12s, 3 dead",
        "  why: it answered 403: no \\u001b[2J",
        "  next: register the key, then: forwarder queue resume -d main",
        "  waits for: somebody to mend it",
    ]


def test_an_attempt_after_failures() -> None:
    """Between two failures a destination is retrying, and not delivering."""
    found = destination(State.DELIVERING, attempts=3, since=NOW, reason="it answered 503")
    assert state_word(found) == "retrying"
    assert text(details({"main": found}, NARROW))[0] == "main: retrying, since 2026-03-01T14:00:00Z, 3 failed in a row"
    assert state_word(destination(State.DELIVERING)) == "delivering"


def test_a_pause_from_before_the_start() -> None:
    """What nobody knows is a dash."""
    paused = destination(State.PAUSED, reason="an operator paused it", next_step="forwarder queue resume -d main")
    assert text(table({"main": paused}, NARROW))[1].split() == ["main", "paused", "-", "0", "-", "-", "-", "-", "0"]
    assert text(details({"main": paused}, NARROW))[0] == "main: paused"


def test_the_forwarder_as_a_whole() -> None:
    """Whether it accepts and why not, how full the queue is, a refused reload and warnings come first."""
    warning = Warned("certificate.expires", "main", NOW, "it ends in 9 days", "renew it")
    found = status(
        ready=False,
        not_ready="the queue is full",
        reload_refused=ReloadState(NOW - timedelta(seconds=65), ["f.yaml:3: queue.path: changes only at a start"]),
        warnings=[warning],
    )
    assert text(head(found, NARROW)) == [
        "forwarder 1.2.3, up 1min 5s,",
        "NOT READY: the queue is full",
        "queue █████░░░░░░░░░░░░░░░ 25% of 4.0 GiB (1.0 GiB, sqlite)",
        "RELOAD REFUSED 1min 5s ago, the configuration before it goes on:",
        "  f.yaml:3: queue.path: changes only at a start",
        "WARNING main: it ends in 9 days (certificate.expires, since",
        "  2026-03-01T14:00:00Z)",
        "  next: renew it",
    ]
    assert text(head(status(), NARROW))[0] == "forwarder 1.2.3, up 1min 5s, ready"


def test_full_is_full() -> None:
    """A queue that refuses is shown as used up, however large the next request would be."""
    found = status(queue=QueueState("sqlite", 95, 100, True))
    assert text(head(found, NARROW))[1] == "queue ████████████████████ 100% of 100 B (95 B, sqlite), FULL"


def test_a_disk_that_is_smaller_than_the_queue() -> None:
    """A disk on which the queue cannot grow to its limit is told; one with room for it is not."""
    small = QueueState("sqlite", 1 << 30, 4 << 30, False, disk_free_bytes=1 << 30)
    assert text(head(status(queue=small), NARROW))[2] == "  its disk has only 1.0 GiB left"
    large = QueueState("sqlite", 1 << 30, 4 << 30, False, disk_free_bytes=3 << 30)
    assert len(text(head(status(queue=large), NARROW))) == 2


def test_the_ways_in() -> None:
    """What came in and what was refused since the start is told for each way."""
    ways = {"http": WayState(1204, 3, 99, 2), "stream": WayState(1_234_567, 0, 99, 12)}
    assert text(head(status(intake=ways), NARROW))[2:] == [
        "intake http 1,204 accepted, 3 refused, 2 open; stream 1.2M accepted, 0 refused,",
        "  12 open",
    ]


def test_what_may_have_come_twice() -> None:
    """Batches whose answers were lost are told, as they may have been stored twice."""
    found = destination(dead=1, next_step="look", sent_again=2, dropped=3)
    told = text(details({"main": found}, NARROW))[0]
    assert told == "main: idle, 1 dead, duplicates possible of 2 sent without an answer, 3 dropped"


def test_a_share_that_is_full() -> None:
    """A destination whose share is full says so, even if it works."""
    found = destination(State.DELIVERING, full=True)
    assert text(details({"main": found}, NARROW)) == ["main: delivering, FULL"]


def test_names_that_do_not_fit_stay_different() -> None:
    """Twenty long names that differ at their ends, or in their middles, can be told apart in 80 columns."""
    for names in (
        [f"production-eu-west-analytics-warehouse-{number:02}" for number in range(20)],
        [f"production-eu-west-{number:02}-analytics-warehouse-of-the-company" for number in range(20)],
        [f"{number:02}-production-eu-west-analytics-warehouse-of-the-company" for number in range(20)],
    ):
        lines = text(table(dict.fromkeys(names, HELD), NARROW))
        assert max(map(len, lines)) <= 80
        assert len({line.split()[0] for line in lines}) == 21
        assert text(table(dict.fromkeys(names, HELD), PIPE))[1].split()[0] == names[0]


def test_commands_can_be_copied() -> None:
    """A command is broken between its words only."""
    name = "production-eu-west-analytics-warehouse-of-the-company"
    step = f"look at 3 dead letters: forwarder dead list -d {name}"
    found = text(details({name: destination(dead=3, next_step=step)}, NARROW))
    assert any(line.strip() == name for line in found)


def test_nothing_at_all() -> None:
    """A forwarder without destinations has a heading and no more."""
    assert len(screen(status(), NARROW)) == 3


def test_a_screen_without_block_characters() -> None:
    """Where the encoding has no blocks, the bar is made of what every terminal has."""
    how = replaced(drawing(80, "ascii"))
    assert text(head(status(), how))[1].startswith("queue #####............... 25%")
    assert drawing(80, "utf-8").blocks
    assert not drawing(80, "no such encoding").blocks


def replaced(how: Drawing) -> Drawing:
    return how._replace(now=NOW)


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_style_or_needs_none(state: State) -> None:
    """What is wrong stands out; what is well does not."""
    [_heading, line] = table({"main": destination(state)}, NARROW)
    assert line[1][1] == ("" if state is State.IDLE else line[1][1])
    assert bool(line[1][1]) == (state is not State.IDLE)


@given(
    st.dictionaries(st.text(max_size=70), st.text(max_size=200), max_size=5),
    st.integers(80, 250),
    st.integers(0, 2**62),
    st.floats(0, 1e12),
)
def test_no_line_is_too_wide(texts: dict[str, str], width: int, number: int, seconds: float) -> None:
    """Whatever names, answers and numbers there are, no line is wider than the screen, and no character steers it."""
    found = {
        name: destination(
            State.HOLDING,
            queued=number,
            dead=number,
            attempts=number,
            oldest_age_seconds=seconds,
            rate_in=seconds,
            rate_out=seconds,
            drain_seconds=seconds,
            reason=words,
            next_step=words,
        )
        for name, words in texts.items()
    }
    lines = screen(status(found, not_ready="x", ready=False), Drawing(width, True, NOW))
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_styles_are_words() -> None:
    """Only the state is coloured in the table, so that it can be seen at a glance."""
    [_heading, line] = table({"main": HELD}, NARROW)
    assert [style for _words, style in line] == ["", "red", ""]
