"""When something is full, at the rate at which it grows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forwarder.observe.forecast import Forecast

HOUR = 3600.0


def seen(room: Callable[[float], float], seconds: float, forecast: Forecast | None = None) -> Forecast:
    """Let a forecast see, every two seconds, how much room there is after so many."""
    forecast = forecast or Forecast(20.0)
    now = 0.0
    while now <= seconds:
        forecast.see(1000.0 + now, room(now))
        now += 2.0
    return forecast


def test_a_steady_rate() -> None:
    """What shrinks at a steady rate is gone when its room divided by the rate says so."""
    found = seen(lambda now: 1e9 - 1e6 * now, 400)
    assert found.seconds == pytest.approx(600, rel=0.01)
    assert found.is_soon


def test_soon_is_within_the_hour() -> None:
    """At a rate that takes longer than an hour nobody need get up."""
    assert seen(lambda now: 0.9 * HOUR * 1000 - 1000 * now, 100).is_soon
    assert not seen(lambda now: 1.2 * HOUR * 1000 - 1000 * now, 100).is_soon


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e6])
def test_what_does_not_shrink(rate: float) -> None:
    """Room that stays, or grows, is never gone."""
    found = seen(lambda now: 1e9 + rate * now, 400)
    assert found.seconds is None
    assert not found.is_soon


def test_too_little_is_known_at_first() -> None:
    """From a few readings nothing is told."""
    assert seen(lambda now: 1e6 - 1e4 * now, 18).seconds is None
    assert seen(lambda now: 1e6 - 1e4 * now, 20).is_soon


def test_one_burst() -> None:
    """A tenth of the room that is taken at once, and then nothing more, is no trend."""

    def room(now: float) -> float:
        return 1e9 if now < 300 else max(0.9e9, 1e9 - 1e7 * (now - 300))

    forecast = Forecast(20.0)
    for until in range(0, 900, 2):
        forecast.see(float(until), room(float(until)))
        assert not forecast.is_soon


def test_filled_and_emptied_by_turns() -> None:
    """What goes up and down around the same level is no trend, however steep it is at any moment."""
    forecast = Forecast(20.0)
    for now in range(0, 1200, 2):
        forecast.see(float(now), 1e9 - 2e6 * (now % 40))
        assert not (forecast.is_soon and now > 120)


def test_the_end() -> None:
    """It is over when the room no longer shrinks, and does not come and go while the rate is uneven."""
    forecast = seen(lambda now: 1e9 - 1e6 * now, 400)
    assert forecast.is_soon
    for step in range(0, 1200, 2):
        forecast.see(1402.0 + step, 6e8)
    assert not forecast.is_soon
    assert forecast.seconds is None


def test_the_memory_is_bounded() -> None:
    """Only the last minutes are kept."""
    forecast = seen(lambda now: 1e9 - now, 20_000)
    assert len(forecast._readings) <= 80
