"""Sessions of people who have logged in."""

from __future__ import annotations

from forwarder.admin.sessions import LIFETIME, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_session_stands_for_its_token_until_it_ends() -> None:
    """Its id is random and reveals nothing; it is nobody's once it is closed or too old."""
    sessions = Sessions(clock := Clock())
    first, second = sessions.open("s3cret"), sessions.open("s3cret")
    assert first != second
    assert len(first) >= 32
    assert "s3cret" not in first
    assert sessions.token(first) == "s3cret"
    sessions.close(first)
    sessions.close("never")
    assert (sessions.token(first), sessions.token(second)) == (None, "s3cret")
    clock.now = LIFETIME
    assert sessions.token(second) is None


def test_there_are_only_so_many() -> None:
    """Where more are opened than are kept, the oldest ends."""
    sessions = Sessions(Clock())
    opened = [sessions.open("s3cret") for _ in range(300)]
    known = [number for number in opened if sessions.token(number) is not None]
    assert known == opened[-256:]
