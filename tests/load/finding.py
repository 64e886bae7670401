"""A figure that a run came to, and the bound that was promised for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was counted or measured, and the most that it may be; None where it is told for its own sake."""

    what: str
    figure: float
    unit: str
    bound: float | None = None

    @property
    def is_held(self) -> bool:
        return self.bound is None or self.figure <= self.bound
