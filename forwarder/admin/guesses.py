"""Count wrong tokens, and tell who has shown too many of them of late.

Each peer may be wrong a few times in a row, and once more every few seconds. As many peers are remembered as
fit into a bounded table, and all others share one allowance, so an attacker with many addresses gains nothing.
"""

from __future__ import annotations

from collections import OrderedDict

# How often a peer may be wrong at once: enough for an operator who tries all the tokens at hand.
_BURST = 10
# Seconds after which it may be wrong once more; clients are told to wait as long (see `problems`).
_SECONDS_EACH = 6.0
# Peers that are remembered.
_PEERS = 1024
# The name under which all others are.
_OTHERS = ""


class Guesses:
    """The wrong tokens of late, by peer."""

    def __init__(self) -> None:
        # For each peer the time at which all is forgiven; whoever has not been wrong for the longest time comes first.
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def wrong(self, peer: str, now: float) -> bool:
        """Count a wrong token; return whether it was one too many. `now` is in seconds that only ever increase."""
        self._forget(now)
        name = peer if peer in self._forgiven or len(self._forgiven) < _PEERS else _OTHERS
        forgiven = max(self._forgiven.get(name, now), now) + _SECONDS_EACH
        if forgiven > now + _BURST * _SECONDS_EACH:
            return True
        self._forgiven[name] = forgiven
        self._forgiven.move_to_end(name)
        return False

    def _forget(self, now: float) -> None:
        while self._forgiven:
            name, forgiven = next(iter(self._forgiven.items()))
            if forgiven > now:
                return
            del self._forgiven[name]
