"""A forwarder and its receiver under a fault, and the books: what was accepted, refused, delivered."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.faults.wrapped import Wrapped
from tests.integration.process import PATIENCE, events
from tests.queue.building import numbers

DISK_FULL = "urn:forwarder:problem:disk-full"
STORAGE_FAILING = "urn:forwarder:problem:storage-failing"
_LOCAL = Address(host="127.0.0.1", port=0)


class LostError(AssertionError):
    """Accepted events did not arrive: `events` are their numbers."""

    def __init__(self, events: set[int]) -> None:
        super().__init__(f"{len(events)} accepted events are lost, the first is {min(events)}")
        self.events = events


class Trial:
    """Use as `async with`: the receiver runs, the forwarder is started and stopped by the test."""

    def __init__(self, folder: Path, *, faults: str = "", queue: Path | None = None, **settings: Any) -> None:
        self.forwarder = Wrapped(folder, "http://127.0.0.1:1/put", **settings)
        if queue is not None:
            self.forwarder.config["queue"]["path"] = str(queue)
        main = self.forwarder.config["destinations"]["main"]
        main["batch"] = {"max_events": 50, "max_age": "10ms"}
        # A batch that fails for long is tried in parts, and an event that fails alone is overtaken. Here it is the
        # disk that fails, and nothing may be.
        main["retry"] = {**main.get("retry", {}), "isolate": False}
        self.receiver = Receiver(_LOCAL, public_keys=[self.forwarder.signer.public("pem")], faults=faults)
        self.accepted: list[int] = []
        self.refused: list[int] = []
        self.unknown: list[int] = []
        """Sent, and never answered."""
        self.problems: Counter[str] = Counter()
        self._next = 0

    async def __aenter__(self) -> Self:
        await self.receiver.__aenter__()
        self.forwarder.config["destinations"]["main"]["url"] = self.receiver.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.forwarder.__aexit__(kind, error, trace)
        await self.receiver.__aexit__(kind, error, trace)

    # --- sending -------------------------------------------------------------------------------

    async def post(self, count: int = 10, size: int = 0) -> bool:
        """Post numbered events with `size` more bytes each; note what became of them, return if they were accepted."""
        sent = range(self._next, self._next + count)
        self._next += count
        try:
            status, problem, headers = await self._answer(events(sent.start, count, filler="x" * size))
        except (aiohttp.ClientError, OSError):
            self.unknown += sent
            raise
        if status == 202:
            self.accepted += sent
            return True
        self.refused += sent
        self.problems[problem["type"]] += 1
        assert status == 503, problem
        assert problem["type"] in {DISK_FULL, STORAGE_FAILING}, problem
        assert int(headers["Retry-After"]) >= 1
        return False

    async def _answer(self, body: Any) -> tuple[int, Any, Any]:
        connector = aiohttp.UnixConnector(str(self.forwarder.folder / "http.sock"))
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://localhost/v1/events", json=body) as answer,
        ):
            return answer.status, await answer.json(), answer.headers

    async def post_until_refused(self, size: int) -> None:
        """Post until the disk takes no more."""
        while await self.post(50, size):
            assert len(self.accepted) < 100_000, "the disk does not become full"

    # --- what came of it -----------------------------------------------------------------------

    @property
    def arrived(self) -> list[int]:
        """The numbers of all events that the receiver stored, duplicates included."""
        return numbers(self.receiver.events)

    @property
    def duplicates(self) -> int:
        """How many events arrived again."""
        return len(self.receiver.events) - len(set(self.arrived))

    async def check(self, *, duplicates: int = 0) -> None:
        """Wait until all is delivered; nothing may be lost, made up, or out of order.

        At most so many `duplicates` are allowed. Raises LostError, or AssertionError for anything else.
        """
        account = await self.forwarder.settled()
        arrived = self.arrived
        first_seen = list(dict.fromkeys(arrived))
        lost = set(self.accepted) - set(arrived)
        if lost:
            raise LostError(lost)
        made_up = set(arrived) - set(self.accepted) - set(self.unknown)
        assert not made_up, f"{len(made_up)} refused events arrived, the first is {min(made_up)}"
        assert first_seen == sorted(first_seen), "events were overtaken"
        assert self.duplicates <= duplicates, f"{self.duplicates} duplicates"
        assert account["delivered"] == account["accepted"] == len(first_seen), account
        assert account["dead"] == account["dropped"] == 0, account

    def logged_once(self, *names: str) -> None:
        """Each of these lines stands in the log exactly once."""
        for name in names:
            found = self.forwarder.logged(name)
            assert len(found) == 1, f"{name}: {found}"
