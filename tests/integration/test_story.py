"""What an operator is told of a destination that fails: within seconds, why, since when, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.process import Forwarder, events
from tests.integration.receiving import point, receiver_for

# Each starts the real process.
pytestmark = pytest.mark.slow

# Seconds within which every surface must tell of what has happened.
SOON = 5.0


async def told(forwarder: Forwarder) -> dict[str, Any]:
    found: dict[str, Any] = (await forwarder.status())["destinations"]["main"]
    return found


async def test_a_key_that_is_not_known(tmp_path: Path) -> None:
    """The answer, the moment of the first failure and the step are told; the step mends it, and that is told, too."""
    # The key is registered once it has been refused three times.
    forwarder, receiver = receiver_for(tmp_path / "f", faults="403*3")
    forwarder.config["destinations"]["main"]["retry"] = {"initial": "60s", "max": "60s"}
    async with receiver, point(forwarder, receiver):
        well = await told(forwarder)
        assert (well["reason"], well["next_step"]) == (None, None)
        await forwarder.post(events(0, 10))

        async def is_held() -> bool:
            found = await told(forwarder)
            return bool(found["attempts"] > 0 and found["since"] > well["since"])

        await forwarder.until(is_held, SOON)
        held = await told(forwarder)
        assert held["reason"].startswith("it answered 403")
        assert held["queued"] == 10
        shown = forwarder.command("status").stdout.decode()
        for words in ("it answered 403", "forwarder queue resume -d main", held["since"][:19]):
            assert words in shown

        async def is_mended() -> bool:
            forwarder.command("queue", "resume", "-d", "main")
            return bool((await told(forwarder))["queued"] == 0)

        await forwarder.until(is_mended)

        async def is_well() -> bool:
            found = await told(forwarder)
            return bool(found["reason"] is None and found["since"] > held["since"] and (found["rate_out"] or 0) > 0)

        await forwarder.until(is_well, SOON)
