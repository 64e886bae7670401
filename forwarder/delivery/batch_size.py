"""How large a batch the destination takes, learned from what it called too large.

No limit is documented, and there may be one of events or of bytes. When a batch is too large, one of the two
becomes half of what the batch had: the one that the batch had used more of. When enough batches near the
limits have passed, twice as much is tried, up to what is configured. Each time such a trial fails, twice as
many batches have to pass before the next. So a limit that stays costs ever fewer refused requests, and one
that is gone, or was only guessed from a timeout, is soon forgotten.
"""

from __future__ import annotations

from forwarder.model import Limits

# Batches that must pass at a limit before more is tried, and the most that must ever pass.
_PATIENCE = 8
_MOST_PATIENCE = 4096


class BatchSize:
    """The largest batch worth sending; `limits` never exceeds what is configured."""

    def __init__(self, configured: Limits) -> None:
        self._configured = configured
        self._patience = _PATIENCE
        self._passed = 0
        self.is_trial = False
        """Whether `limits` are more than what is known to pass."""
        self.limits = configured

    def too_large(self, events: int, size: int) -> None:
        """Note that a batch of several events, `size` bytes of JSON, was refused as too large."""
        limits = self.limits
        if events > limits.max_events or size > limits.max_bytes:
            # It was on its way while another batch showed the same; halving again would go too far.
            return
        if events / self._configured.max_events >= size / self._configured.max_bytes:
            self.limits = Limits(max(1, events // 2), limits.max_bytes)
        else:
            self.limits = Limits(limits.max_events, max(1, size // 2))
        self._passed = 0
        if self.is_trial:
            self.is_trial = False
            self._patience = min(self._patience * 2, _MOST_PATIENCE)

    def passed(self, events: int, size: int) -> None:
        """Note that a batch of that size was taken."""
        limits = self.limits
        if events * 2 <= limits.max_events and size * 2 <= limits.max_bytes:
            # A small batch says nothing about the limits.
            return
        if self.is_trial:
            self.is_trial = False
            self._patience = _PATIENCE
        self._passed += 1
        if self._passed >= self._patience and limits != self._configured:
            self._passed = 0
            self.is_trial = True
            self.limits = Limits(
                min(self._configured.max_events, limits.max_events * 2),
                min(self._configured.max_bytes, limits.max_bytes * 2),
            )
