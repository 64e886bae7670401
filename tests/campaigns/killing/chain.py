"""A chain: one queue over many lives of the forwarder, each ended by a kill, the last one drained.

Producers and destinations live on while the forwarder dies and comes back. When the queue is empty,
everything that was written down on the way is judged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from forwarder.signing import Signer
from tests.campaigns.killing import producers
from tests.campaigns.killing.daemon import PATIENCE, Daemon, damage_of
from tests.campaigns.killing.events import HTTP_ARRAY, HTTP_SINGLE, LAST, ROUTES, STREAM_TCP, STREAM_UNIX, Events, Key
from tests.campaigns.killing.faults import WEATHER, Faults
from tests.campaigns.killing.journal import Claims, Journal
from tests.campaigns.killing.receiver import TIMEOUT, Receiver
from tests.campaigns.killing.shot import CREATING, LEAVING, MOMENTS, RUNNING, STARTING, Moment, Shot, Sight
from tests.campaigns.killing.verdict import Evidence, Problem, Tally, check_account, judge, tallies
from tests.integration.process import Forwarder

# Seconds after which a shot goes off whose moment does not come.
_LONGEST_LIFE = 2.5
# The promise without which nothing else can be tried.
_STARTS = "it starts and stops"
# The last life of a chain is not shot at.
_NEVER = Moment("drained", Sight.READY, (3600.0, 3600.0), 0)


@dataclass(slots=True)
class Life:
    """How a life was to end, and whether it did."""

    moment: str
    was_killed: bool
    tally: Tally = field(default_factory=Tally)


class Chain:
    """`seed` decides everything that chance decides; `folder` keeps everything that is written."""

    def __init__(self, folder: Path, seed: str, sabotage: str | None) -> None:
        self.folder = folder
        self._chance = Random(seed)
        self._sabotage = sabotage
        self._events = Events(seed)
        # Each attempt that is given up is a line only at this level.
        log = {"level": "debug"}
        self._forwarder = Forwarder(folder / "forwarder", "http://127.0.0.1:1/put", log=log)
        self._shot = Shot(_NEVER, 1, 0.0)
        self._faults = self._draw_faults()
        self._receiver = Receiver(
            Signer.load(self._forwarder.key_file).public("pem"), self._faults, self._events, self._saw
        )
        (folder / "journals").mkdir()
        self._producers = {
            HTTP_SINGLE: self._producer(producers.Poster, HTTP_SINGLE),
            HTTP_ARRAY: self._producer(producers.Poster, HTTP_ARRAY),
            STREAM_UNIX: self._producer(producers.Streamer, STREAM_UNIX),
            STREAM_TCP: self._producer(producers.Streamer, STREAM_TCP),
            LAST: self._producer(producers.SinglePost, LAST),
        }
        self.lives: dict[int, Life] = {}
        self._timeouts: dict[tuple[str, int], int] = {}
        self.problems: list[Problem] = []

    def _producer(self, kind: type[producers.Producer], source: str) -> producers.Producer:
        journal = Journal(self._journal(source))
        return kind(source, self._events, journal, Random(self._chance.random()), self._saw)

    def _journal(self, source: str) -> Path:
        return self.folder / "journals" / source

    def _draw_faults(self) -> dict[str, Faults]:
        weather = self._chance.choice(list(WEATHER.values()))
        return {route.name: Faults(Random(self._chance.random()), weather) for route in ROUTES}

    def _configure(self) -> None:
        chance = self._chance
        self._max_events = chance.choice([10, 50, 200, 1000])
        batch = {"max_events": self._max_events, "max_age": chance.choice(["0s", "5ms", "50ms"])}
        folder = self._forwarder.folder
        self._forwarder.config |= {
            "ingest": {
                "http": {"listen": [f"unix:{folder}/http.sock", "tcp:127.0.0.1:0"]},
                "stream": {"listen": [f"unix:{folder}/stream.sock", "tcp:127.0.0.1:0"]},
            },
            # A small queue is checkpointed every few commits, and may be full.
            "queue": {
                "path": str(folder / "queue" / "queue.db"),
                "max_bytes": chance.choice(["2MiB", "8MiB", "64MiB", "1GiB"]),
            },
            "destinations": {
                route.name: {
                    "url": f"http://127.0.0.1:{self._receiver.port}/{route.name}",
                    "match": {name: [pattern] for name, pattern in route.match},
                    "signing": {"key_file": str(self._forwarder.key_file)},
                    "batch": batch,
                    "retry": {"initial": "5ms", "max": "150ms"},
                    "timeout": TIMEOUT,
                    "in_flight": route.in_flight,
                }
                for route in ROUTES
            },
            "shutdown_timeout": "2s",
        }
        self._forwarder.write_config()

    def _saw(self, sight: Sight) -> None:
        self._shot.saw(sight)

    # --- lives ---------------------------------------------------------------------------------

    async def run(self, rounds: int) -> None:
        """Live and be killed so many times, then drain the queue and judge."""
        async with self._receiver:
            self._configure()
            for number in range(1, rounds + 1):
                for faults in self._faults.values():
                    faults.is_down = self._chance.random() < 0.1
                await self._live(number, self._draw_shot(number))
                if any(promise == _STARTS for promise, _ in self.problems):
                    return
            await self._drain(rounds + 1)

    def close(self) -> None:
        """Close the journals."""
        for producer in self._producers.values():
            producer.journal.close()

    def _draw_shot(self, number: int) -> Shot:
        if number == 1 and self._chance.random() < 0.5:
            return Shot.drawn(self._chance, CREATING)
        [moment] = self._chance.choices(MOMENTS, [moment.weight for moment in MOMENTS])
        return Shot.drawn(self._chance, moment)

    async def _live(self, life: int, shot: Shot) -> None:
        daemon = await self._start(life, shot)
        moment = shot.moment.name
        try:
            if await daemon.ready():
                await self._look_at_status(daemon)
                is_late = await self._be_shot(life, daemon)
                # What was to hit the start, or something that did not come, has hit whatever was going on.
                if shot.moment is STARTING or (is_late and shot.moment.sight is not Sight.STOPPING):
                    moment = RUNNING
        finally:
            # Whatever went wrong: no process is left behind.
            shot.fire()
            await daemon.ended(PATIENCE)
        await self._bury(life, daemon, moment)

    async def _start(self, life: int, shot: Shot) -> Daemon:
        self._shot = shot
        self._receiver.begin_life(life)
        daemon = Daemon(self._forwarder, self._sabotage, self._saw)
        await daemon.start(shot)
        return daemon

    async def _be_shot(self, life: int, daemon: Daemon) -> bool:
        """Let producers send until the shot goes off; return whether its moment did not come in time."""
        producing = self._send(life, daemon)
        try:
            if self._shot.moment.sight is Sight.STOPPING:
                await daemon.ended(self._chance.uniform(0.05, 0.6))
                daemon.terminate()
                self._saw(Sight.STOPPING)
            return not await daemon.ended(_LONGEST_LIFE)
        finally:
            self._shot.fire()
            await daemon.ended(PATIENCE)
            for task in producing:
                task.cancel()
            for found in await asyncio.gather(*producing, return_exceptions=True):
                if isinstance(found, Exception):
                    raise found

    def _send(self, life: int, daemon: Daemon) -> list[asyncio.Task[None]]:
        addresses = dict(zip((HTTP_SINGLE, HTTP_ARRAY), daemon.http, strict=True))
        addresses |= zip((STREAM_UNIX, STREAM_TCP), daemon.stream, strict=True)
        return [
            asyncio.create_task(self._producers[source].run(life, address)) for source, address in addresses.items()
        ]

    async def _bury(self, life: int, daemon: Daemon, moment: str) -> None:
        """Take down how a life ended, and look at what it left behind."""
        code = await daemon.code()
        stops = self._shot.moment.sight is Sight.STOPPING or self._shot.moment is _NEVER
        # A second signal makes it leave by itself, or by the system where it has let go of its handlers.
        kills = {-9, 143, -15} if self._shot.moment is LEAVING else {-9}
        self._shot.disarm()
        await self._receiver.end_life()
        self.lives[life] = Life(moment, was_killed=code in kills)
        if code not in kills and not (stops and code == 0):
            self.problems.append((_STARTS, f"life {life} ({moment}) ended with {code}"))
        self._timeouts |= {(route, life): count for route, count in daemon.timeouts.items()}
        self.problems += [("nothing goes wrong inside", f"life {life}: {line}") for line in daemon.complaints]
        if (damage := damage_of(self._forwarder.folder / "queue" / "queue.db")) is not None:
            self.problems.append(("the file is sound", f"after life {life} ({moment}): {damage}"))

    async def _look_at_status(self, daemon: Daemon) -> None:
        """Check the accounts; nobody sends just now."""
        status = await daemon.status()
        if status is None:
            return
        acked, sent = await asyncio.to_thread(self._count)
        for name, account in status["destinations"].items():
            self.problems += check_account(name, account, acked[name], sent[name])

    def _count(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many events were accepted, and sent, for each destination, by the journals."""
        acked, sent = Counter[str](), Counter[str]()
        for source in self._producers:
            claims = Claims.read(self._journal(source))
            for number in claims.sent:
                routes = self._events.routes(source, number)
                sent.update(routes)
                if number in claims.accepted:
                    acked.update(routes)
        return acked, sent

    # --- the end -------------------------------------------------------------------------------

    async def _drain(self, life: int) -> None:
        """Let everything be delivered, and judge."""
        for faults in self._faults.values():
            faults.scale, faults.is_down = 0.0, False
        shot = Shot(_NEVER, 1, 3600.0)
        daemon = await self._start(life, shot)
        try:
            if await daemon.ready():
                await self._look_at_status(daemon)
                accounts = await self._empty(life, daemon)
                dead = {route.name: [_key_of(letter) for letter in await daemon.dead(route.name)] for route in ROUTES}
                daemon.terminate()
                await daemon.ended(PATIENCE)
                await self._bury(life, daemon, _NEVER.name)
                self._judge(accounts, dead)
                return
        finally:
            shot.fire()
            await daemon.ended(PATIENCE)
        await self._bury(life, daemon, _NEVER.name)

    async def _empty(self, life: int, daemon: Daemon) -> dict[str, Any]:
        """Wait until nothing is queued; return the accounts.

        Good events follow all along: whether the last of many bad events is bad shows only when
        something behind it is taken.
        """
        deadline = monotonic() + PATIENCE
        while True:
            await self._producers[LAST].run(life, daemon.http[0])
            for _ in range(20):
                status = await daemon.status()
                assert status is not None
                accounts: dict[str, Any] = status["destinations"]
                if not any(account["queued"] for account in accounts.values()):
                    return accounts
                await asyncio.sleep(0.01)
            if monotonic() > deadline:
                self.problems.append(("everything is delivered in the end", f"{accounts}"))
                return accounts

    def _judge(self, accounts: dict[str, Any], dead: dict[str, list[Key]]) -> None:
        claims = {source: Claims.read(self._journal(source)) for source in self._producers}
        evidence = Evidence(
            self._events,
            claims,
            self._receiver.requests,
            dead,
            {life for life, ended in self.lives.items() if ended.was_killed},
            self._timeouts,
            accounts,
            self._max_events,
        )
        self.problems += [("what arrives is what was sent", wrong) for wrong in self._receiver.wrongs]
        for producer in self._producers.values():
            self.problems += [("answers are right", complaint) for complaint in producer.complaints]
        self.problems += judge(evidence)
        for life, tally in tallies(evidence).items():
            self.lives[life].tally += tally


def _key_of(letter: dict[str, Any]) -> Key:
    return letter["event"]["eventSourceId"], letter["event"]["data"]["n"]
