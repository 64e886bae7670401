"""How long to wait before the next attempt.

Exponential back-off with full jitter: after n failures in a row the wait is chosen evenly from
0 to min(max, initial x multiplier^(n - 1)) seconds, so that many forwarders do not come back at the
same moment (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). A
Retry-After is honoured when it is longer, but never beyond `max`.

Where somebody has to mend the destination, the first attempts come soon, as most mistakes are noticed and
mended at once; then there is one every `max` seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Seconds before a destination that is held is tried for the first times.
_SOON = (5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Backoff:
    """`initial` and `max` are seconds; `multiplier` is at least 1."""

    initial: float
    max: float
    multiplier: float

    def ceiling(self, failures: int) -> float:
        """Return the longest wait, in seconds, after so many failures in a row (at least 1)."""
        # The power is taken in logarithms: multiplied out it overflows after about 1,000 failures.
        exponent = (failures - 1) * math.log(self.multiplier)
        if exponent >= math.log(self.max / self.initial):
            return self.max
        # Rounding could lift it above what it must not exceed.
        return min(self.max, self.initial * math.exp(exponent))

    def delay(self, failures: int, *, retry_after: float | None, random: float) -> float:
        """Return the seconds to wait; `random` is from 0 to 1."""
        jittered = self.ceiling(failures) * random
        return jittered if retry_after is None else max(jittered, min(retry_after, self.max))

    def hold(self, holds: int) -> float:
        """Return the seconds to wait for a destination to be mended, after so many such waits in a row."""
        return min(self.max, _SOON[holds]) if holds < len(_SOON) else self.max
