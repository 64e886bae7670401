"""Early warnings: what is told of certificates, clocks and keys, and for how long."""

from __future__ import annotations

import pytest

from forwarder.daemon.watch import Watch, Watched, clock_off, ending
from forwarder.destination.base import Certificate, Outlook
from forwarder.observe.conditions import Conditions
from tests.observe.recording import Recording

NOON = 1_700_000_000.0
DAY = 86_400.0
CLIENT = "the client certificate /c.pem"
FINE = Watched("main", Outlook(), "key-1", None, has_taken=False)


class Watching:
    """A watch over destinations that a test changes; a round a call of `found`."""

    def __init__(self, *destinations: Watched) -> None:
        self.destinations = list(destinations)
        self.conditions = Conditions(Recording(), lambda: NOON)
        self._watch = Watch(lambda: self.destinations, self.conditions, lambda: NOON)

    def found(self, *destinations: Watched) -> list[str]:
        """Return the keys of what holds after a look at these destinations."""
        self.destinations = list(destinations)
        self._watch.look(None)
        return [condition.key for condition in self.conditions.active()]


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (14.01, None),
        (13.9, "ends in 14 days, at 2023-11-28 19:49 UTC"),
        (3.0, "ends in 3 days, at 2023-11-17 22:13 UTC"),
        (1.9, "ends within two days, at 2023-11-16 19:49 UTC"),
        (0.0, "has ended, at 2023-11-14 22:13 UTC"),
        (-5.0, "has ended, at 2023-11-09 22:13 UTC"),
    ],
)
def test_a_certificate(days: float, words: str | None) -> None:
    """From two weeks before its end on it is told which one it is, and when it ends."""
    found = ending([Certificate(CLIENT, NOON + days * DAY)], NOON)
    assert found == (None if words is None else f"{CLIENT} {words}")


def test_a_certificate_that_ended_at_some_time() -> None:
    """Where only is known that it has ended, no time is told."""
    assert ending([Certificate(CLIENT, NOON - 5.0, is_exact=False)], NOON) == f"{CLIENT} has ended"


def test_several_certificates() -> None:
    """All that end soon are told, the most urgent first."""
    several = [
        Certificate("one", NOON + 5 * DAY),
        Certificate("two", NOON + DAY),
        Certificate("three", NOON + 99 * DAY),
    ]
    found = ending(several, NOON)
    assert found is not None
    assert [part.split()[0] for part in found.split("; ")] == ["two", "one"]


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(None, None), (0.0, None), (60.0, None), (-60.0, None), (61.0, "61 s ahead of"), (-90.4, "90 s behind")],
)
def test_a_clock(ahead: float | None, words: str | None) -> None:
    """More than a minute is told, with its direction."""
    found = clock_off(ahead)
    assert (found is None) if words is None else (found is not None and f"{words} that of the destination" in found)


def test_what_holds_and_ends() -> None:
    """Each warning ends when what it tells of has; a destination that is removed has none."""
    watching = Watching()
    ends, off = Outlook((Certificate(CLIENT, NOON),)), Outlook(clock_ahead=90.0)
    assert watching.found(FINE) == []
    assert watching.found(FINE._replace(outlook=ends)) == ["certificate.expires"]
    assert watching.found(FINE._replace(outlook=off)) == ["clock.off"]
    assert watching.found(FINE) == []
    assert watching.found(FINE._replace(outlook=off)) == ["clock.off"]
    assert watching.found() == []


def test_a_key_that_is_refused() -> None:
    """A key that was never good is told while it is refused; one that was good before is not to blame."""
    watching, refused = Watching(), FINE._replace(key_refused=403)
    assert watching.found(refused) == ["key.refused"]
    (condition,) = watching.conditions.active()
    assert "key-1 was answered 403" in condition.detail
    assert watching.found(FINE._replace(has_taken=True)) == []
    assert watching.found(refused) == []
    # Another key comes with another pump, which has taken nothing yet; then the good one is put back.
    assert watching.found(refused._replace(key="key-2")) == ["key.refused"]
    assert watching.found(refused) == []
