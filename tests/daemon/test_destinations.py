"""The pumps of all destinations: replaced, removed and wanted again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from forwarder.signing import generate_key
from tests.integration.process import Forwarder, events
from tests.integration.receiving import point, receiver_for
from tests.queue.building import numbers

# Each starts the real process.
pytestmark = pytest.mark.slow


def is_reloaded(forwarder: Forwarder, times: int) -> bool:
    return len(forwarder.logged("reload.done")) == times


async def test_a_destination_that_is_removed_and_wanted_again(tmp_path: Path) -> None:
    """What is being sent is finished before anything else is: order holds."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:6")
    async with receiver, point(forwarder, receiver):
        assert forwarder.process is not None
        with_main = dict(forwarder.config["destinations"])
        await forwarder.post(events(0, 1))
        await forwarder.until(lambda: receiver.requests)
        other = {**with_main["main"], "match": {"eventSourceId": "nobody"}}
        for reloads, destinations in enumerate(({"other": other}, with_main), start=1):
            forwarder.config["destinations"] = destinations
            forwarder.write_config()
            forwarder.process.send_signal(1)
            await forwarder.until(partial(is_reloaded, forwarder, reloads))
        assert (await forwarder.post(events(1, 2)))[0] == 202
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (3, 0)
    assert numbers(receiver.events) == [0, 1, 2]


async def test_another_key_forgets_nothing(tmp_path: Path) -> None:
    """Last success, last error and what was sent again are told since the start, also after the key was replaced."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="cut-after-store")
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 1))
        before = await forwarder.settled()
        fresh = forwarder.folder / "fresh.pem"
        fresh.touch(mode=0o600)
        fresh.write_bytes(generate_key(2048))
        fresh.replace(forwarder.key_file)
        assert (await forwarder.admin("POST", "/v1/reload"))[0] == 200
        await forwarder.until(lambda: len(forwarder.logged("destination.started")) == 2)
        after = await forwarder.account()
    told = ("last_success", "last_error", "sent_again")
    assert before["last_success"]
    assert before["sent_again"] == 1
    assert {name: after[name] for name in told} == {name: before[name] for name in told}
