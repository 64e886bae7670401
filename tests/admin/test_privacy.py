"""What may repeat the contents of events is left out."""

from __future__ import annotations

from forwarder.admin.privacy import without_answers, without_filters
from forwarder.admin.steering import DestinationStatus
from forwarder.model import LastError, Obstacle, State


def test_answers_are_left_out() -> None:
    """The status of an answer is told, its words are not; the words of our own are."""
    answered = DestinationStatus(
        State.HOLDING,
        last_error=LastError(at=1.0, status=422, detail="422: Jane Doe"),
        obstacle=Obstacle("set_aside", detail="422: Jane Doe"),
    )
    shown = without_answers(answered)
    assert "Jane" not in str(shown)
    assert shown.last_error == LastError(at=1.0, status=422, detail="")
    silent = DestinationStatus(State.BACKING_OFF, last_error=LastError(at=1.0, status=None, detail="no route to host"))
    assert without_answers(silent) == silent


def test_of_filters_only_the_destination_is_told() -> None:
    """Wherever the name of a destination stands, it is told."""
    assert without_filters({"destination": "main", "source": "Jane"}) == {"destination": "main"}
    assert without_filters({"filter": {"destination": "main", "text": "Jane"}}) == {"destination": "main"}
    assert without_filters({"filter": {"all": True}}) == {}
