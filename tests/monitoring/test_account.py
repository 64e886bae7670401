"""Metrics, status and the destinations themselves count the same events, whatever happens to daemon and network.

ACCOUNT_EVENTS sets how many events are sent; with 200000 it is the acceptance test, of some minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forwarder.model import INVALID, Address
from forwarder.observe.measures import MEASURES
from forwarder.receiver import Receiver
from tests.integration.process import PATIENCE, Forwarder
from tests.monitoring.rules import Scrape, scrape

pytestmark = pytest.mark.system

EVENTS = int(os.environ.get("ACCOUNT_EVENTS", "6000"))
# How long the backlog of so many events may take under faults.
_PATIENCE = PATIENCE + EVENTS / 500
# Events of a request, and lines that are written to the stream at once.
_AT_ONCE = max(20, EVENTS // 1000)
_LOCAL = Address(host="127.0.0.1", port=0)
# Answers that get lost leave duplicates behind, which no account may count twice.
_FAULTS = {
    "main": "cut-after-store,503,random:0.1:1,reject:poison",
    "audit": "slow:0.2,cut,random:0.1:2,reject:poison",
    "billing": "429:1,max-events:40,cut-after-store,random:0.05:3",
}
# What `status` and metrics call the same.
_NAMES = {
    "accepted": "forwarder_events_accepted_total",
    "queued": "forwarder_events_queued",
    "delivered": "forwarder_events_delivered_total",
    "dead": "forwarder_events_dead",
    "died": "forwarder_events_died_total",
    "replayed": "forwarder_events_replayed_total",
    "dropped": "forwarder_events_dropped_total",
    "set_aside": "forwarder_events_set_aside",
}
_POISONED = 3


@dataclass
class Sender:
    """Sends events by one way, and keeps what was said of each."""

    forwarder: Forwarder
    acked: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Those that a kill left without an answer."""
    this_run: int = 0
    """Events that were acknowledged since the last start."""

    def make(self, count: int, **fields: Any) -> dict[str, dict[str, Any]]:
        """Return new events by their ids."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        return {name: {"eventSourceId": "app", "eventType": "login", "eventId": name, **fields} for name in ids}

    async def post(self, count: int, **fields: Any) -> None:
        """Post events; a refusal is a failure of the test."""
        made = self.make(count, **fields)
        self.unknown |= made.keys()
        status, answer = await self.forwarder.post(list(made.values()))
        assert (status, answer) == (202, {"accepted": count})
        self._acknowledge(made)

    async def write(self, rounds: int) -> None:
        """Write lines to the stream, and wait for their acks."""
        reader, writer = await asyncio.open_unix_connection(str(self.forwarder.folder / "stream.sock"))
        try:
            for number in range(1, rounds + 1):
                made = self.make(_AT_ONCE)
                self.unknown |= made.keys()
                writer.write(b"".join(json.dumps(event).encode() + b"\n" for event in made.values()))
                await _until_acked(reader, number * _AT_ONCE)
                self._acknowledge(made)
        finally:
            writer.close()

    def _acknowledge(self, ids: Iterable[str]) -> None:
        before = len(self.acked)
        self.acked.update(ids)
        self.unknown.difference_update(ids)
        self.this_run += len(self.acked) - before


async def _until_acked(reader: asyncio.StreamReader, lines: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionResetError
            if json.loads(line)["ack"] == lines:
                return


class Books:
    """A daemon with three destinations, two that send, and what all of them have counted."""

    def __init__(self, folder: Path) -> None:
        self.forwarder = Forwarder(folder, "http://127.0.0.1:1/put")
        main = self.forwarder.config["destinations"]["main"]
        main |= {"timeout": "2s", "batch": {"max_events": 200, "max_age": "10ms"}}
        main["retry"] = {"initial": "10ms", "max": "100ms"}
        self.receivers = {
            name: Receiver(_LOCAL, public_keys=[self.forwarder.signer.public("pem")], faults=faults, keep="ids")
            for name, faults in _FAULTS.items()
        }
        self.over_http, self.over_stream = Sender(self.forwarder), Sender(self.forwarder)
        self.senders = (self.over_http, self.over_stream)
        self.started = 0.0

    async def open(self, stack: AsyncExitStack) -> None:
        for name, receiver in self.receivers.items():
            await stack.enter_async_context(receiver)
            self.forwarder.config["destinations"][name] = {
                **self.forwarder.config["destinations"]["main"],
                "url": receiver.url,
            }
        await stack.enter_async_context(self.forwarder)

    async def send(self, events: int) -> None:
        """Send so many events, half of them by each way."""
        rounds = events // 2 // _AT_ONCE
        await asyncio.gather(self._post(rounds), self.over_stream.write(rounds))

    async def _post(self, rounds: int) -> None:
        for _ in range(rounds):
            await self.over_http.post(_AT_ONCE)

    async def restart(self) -> None:
        self.started = time.time()
        await self.forwarder.start()
        for sender in self.senders:
            sender.this_run = 0

    def lost(self, destination: str) -> int:
        """Return how many answers about events that were stored got lost since the last start."""
        found = [record for record in self.receivers[destination].requests if record.at >= self.started]
        return sum(record.fault == "cut-after-store" and record.events > 0 for record in found)

    async def settled(self) -> None:
        """Wait until nothing waits at any destination."""

        async def is_empty() -> bool:
            found = (await self.forwarder.status())["destinations"]
            if any(account["set_aside"] for account in found.values()):
                # What was refused alone is given up only after others were taken: without any it waits.
                await self.over_http.post(1)
            return not any(account["queued"] for account in found.values())

        await self.forwarder.until(is_empty, _PATIENCE)

    async def died(self, destination: str, number: int) -> None:
        """Wait until so many events have died at a destination."""

        async def have_died() -> bool:
            return bool((await self.forwarder.account(destination))["died"] == number)

        await self.forwarder.until(have_died, _PATIENCE)

    async def check(self) -> None:
        """Compare all that count, where nothing is under way."""
        status, found = await self.forwarder.status(), await scrape(self.forwarder)
        for name, account in status["destinations"].items():
            assert {key: account[key] for key in _NAMES} == {
                key: _value(found, metric, destination=name) for key, metric in _NAMES.items()
            }
            # What died has been replayed, or was purged, or is still there.
            purged = account["died"] - account["replayed"] - account["dead"]
            assert 0 <= purged <= account["dropped"], account
        for name, receiver in self.receivers.items():
            assert status["destinations"][name]["delivered"] == len(receiver.ids), name
        for way, sender in (("http", self.over_http), ("stream", self.over_stream)):
            accepted = _value(found, "forwarder_intake_events_total", way=way)
            assert accepted == status["intake"][way]["accepted"] == sender.this_run, way
            refused = sum(
                value
                for name, value in found.items()
                if name.startswith("forwarder_events_refused_total{") and f'way="{way}"' in name
            )
            assert refused == status["intake"][way]["refused"], way

    async def check_while_busy(self) -> None:
        """What a scrape counts lies between the statuses before and after it, as all come from one store."""
        before = (await self.forwarder.status())["destinations"]
        found = await scrape(self.forwarder)
        after = (await self.forwarder.status())["destinations"]
        for name in self.receivers:
            for key in ("accepted", "delivered", "died", "replayed", "dropped"):
                value = _value(found, _NAMES[key], destination=name)
                assert before[name][key] <= value <= after[name][key], (name, key)
            values = {key: _value(found, metric, destination=name) for key, metric in _NAMES.items()}
            parts = values["queued"] + values["delivered"] + values["dead"] + values["dropped"]
            assert values["accepted"] == parts, (name, values)


def _value(found: Scrape, metric: str, **labels: str) -> float:
    """Return the one sample of a metric with these labels."""
    [wanted] = [f'{name}="{value}"' for name, value in labels.items()]
    [value] = [value for name, value in found.items() if name.startswith(f"{metric}{{") and wanted in name]
    return value


def test_every_metric_of_events_is_compared() -> None:
    """A new count of events has to be compared below, too."""
    counts = {name for name in MEASURES if name.startswith("forwarder_events_")}
    assert counts == {*_NAMES.values(), "forwarder_events_refused_total"}


async def test_all_that_count_agree(tmp_path: Path) -> None:
    """After faults, a kill, a restart, a replay and a purge, metrics, status and destinations count the same."""
    books = Books(tmp_path / "f")
    async with AsyncExitStack() as stack:
        await books.open(stack)
        await books.over_http.post(_POISONED, eventType="poison")
        await books.send(EVENTS // 3)
        await books.check_while_busy()

        # A kill while both send: what was under way is accepted or is not, and nobody says which.
        sending = asyncio.gather(books.send(EVENTS // 3), return_exceptions=True)
        await asyncio.sleep(0.3)
        await books.forwarder.kill()
        for error in await sending:
            assert error is None or isinstance(error, (OSError, aiohttp.ClientError)), repr(error)
        await books.restart()
        await books.check_while_busy()
        status = await books.forwarder.status()
        assert status["destinations"]["main"]["accepted"] >= sum(len(sender.acked) for sender in books.senders)

        # What is no event is refused on both ways, or kept where that was asked for.
        assert (await books.forwarder.post([{"no": "event"}]))[0] == 422
        assert (await books.forwarder.post([{"no": "event"}], path="/v1/events?invalid=dead_letter"))[0] == 202
        assert (await books.forwarder.status())["destinations"][INVALID]["dead"] == 1

        # A stop with a backlog.
        await books.send(EVENTS // 6)
        assert await books.forwarder.stop() == 0
        await books.restart()
        # What the kill has cut short is made up for.
        await books.send(EVENTS - sum(len(sender.acked) for sender in books.senders) + 2 * _AT_ONCE)
        await books.check_while_busy()
        await books.settled()
        await books.check()

        await books.died("main", _POISONED)
        await books.died("audit", _POISONED)
        books.receivers["main"].faults = ""
        assert await _act(books.forwarder, "replay", destination="main") == {"replayed": _POISONED}
        assert await _act(books.forwarder, "purge", destination="audit") == {"dropped": _POISONED}
        await books.settled()
        await books.check()

        accounts = (await books.forwarder.status())["destinations"]
    assert accounts["main"]["accepted"] >= EVENTS
    acked = set().union(*(sender.acked for sender in books.senders))
    sent = acked.union(*(sender.unknown for sender in books.senders))
    poisoned = acked - books.receivers["audit"].ids
    assert len(poisoned) == _POISONED
    for name, receiver in books.receivers.items():
        assert acked - receiver.ids == (poisoned if name == "audit" else set()), name
        assert receiver.ids <= sent, name
        assert receiver.stats.stored > len(receiver.ids), f"{name}: no answer was lost, so nothing was tried"
        # Each answer that got lost since the last start is counted, as what came twice may be more than once.
        assert accounts[name]["sent_again"] >= books.lost(name), name
    assert (accounts["main"]["replayed"], accounts["main"]["dropped"]) == (_POISONED, 0)
    assert (accounts["audit"]["replayed"], accounts["audit"]["dropped"]) == (0, _POISONED)


async def _act(forwarder: Forwarder, verb: str, **wanted: str) -> Any:
    status, answer = await forwarder.admin("POST", f"/v1/dead/{verb}", json=wanted)
    assert status == 200, answer
    return answer
