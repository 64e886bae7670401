"""Start the daemon in order, reload it, and stop it in reverse order.

The start: open the queue, start the pumps, open the listeners, report readiness. A stop goes the other
way: accept nothing more and answer what was received; let the pumps deliver queued events for as long as
`shutdown_timeout` allows; close the queue. Nothing depends on completing a stop: a second signal ends the
process at once, just as a power failure would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, get_args

import uvloop

from forwarder import __version__
from forwarder import log as log_to
from forwarder.admin.activity import Acts
from forwarder.admin.api import AdminApi
from forwarder.admin.status import WayState
from forwarder.config import OtelConfig, to_yaml, warnings
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.cleaning import Cleaning
from forwarder.daemon.config_file import ConfigFile
from forwarder.daemon.descriptors import raise_limit
from forwarder.daemon.destinations import Destinations
from forwarder.daemon.lag import LoopLag
from forwarder.daemon.listeners import Listeners
from forwarder.daemon.memory import keep_freed_blocks, spare_what_stays
from forwarder.daemon.readings import Readings
from forwarder.daemon.reloading import Reloading
from forwarder.daemon.report import Report
from forwarder.daemon.room import Room
from forwarder.daemon.rounds import Rounds
from forwarder.daemon.watch import Watch
from forwarder.errors import ConfigError, ForwarderError, Problem
from forwarder.ingest.intake import Intake
from forwarder.ingest.readmission import Readmission
from forwarder.lossy import drain_stderr
from forwarder.observe.base import Observer, Observers
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Notice, Way
from forwarder.observe.history import History
from forwarder.observe.logs import Logs
from forwarder.observe.metrics import Metrics
from forwarder.observe.refusals import Refusals
from forwarder.queue.backends import BACKENDS, changed_for_good
from forwarder.queue.base import Queue
from forwarder.running import Note, Running
from forwarder.systemd import Notifier, listening_sockets

if TYPE_CHECKING:
    from forwarder.observe.telemetry import Telemetry


def run(assembly: Assembly, config_file: ConfigFile) -> None:
    """Run the daemon until it is told to stop. `config_file` is read again for a reload.

    Commands find the daemon by its path.

    Raises QueueLockedError, StorageError or ListenError if it cannot start.
    """
    keep_freed_blocks()
    raise_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(assembly, config_file, Note(config_file.path, os.environ)))


async def _live(assembly: Assembly, config_file: ConfigFile, note: Note) -> None:
    config = assembly.config
    notifier = Notifier(os.environ)
    telemetry = _telemetry(config.otel)
    seen = Seen(Metrics(), Refusals(time.time), Acts(time.time))
    observer = Observers(Logs(), *seen, *telemetry)
    stop, reload = _signals(observer)
    backend = BACKENDS[type(config.queue)]
    description = backend.describe(config.queue)
    notifier.send(f"STATUS=Opening the queue {description['queue']}")
    async with await backend.open(config.queue, list(config.destinations), observer) as queue:
        daemon = Daemon(assembly, queue, config_file, note, observer, seen)
        daemon.intake.wants_traces = bool(telemetry)
        observer.add(daemon.conditions)
        await daemon.start()
        spare_what_stays()
        report = Report(notifier, queue, daemon.wrong, daemon.listening)
        cleaning = Cleaning(queue, lambda: daemon.assembly.config.dead_letters.max_age, observer)
        tasks = [
            asyncio.create_task(daemon.reloading.run(reload, report), name="reloading"),
            asyncio.create_task(report.run(), name="report"),
            asyncio.create_task(cleaning.run(), name="cleaning"),
            asyncio.create_task(daemon.rounds.run(), name="rounds"),
            asyncio.create_task(daemon.lag.run(), name="lag"),
            *[asyncio.create_task(daemon.readings.tell(each), name="telemetry") for each in telemetry],
        ]
        report.ready()
        details = {"version": __version__, **description, "listening": daemon.listening()}
        observer.saw(Notice("forwarder.started", details))
        await stop.wait()
        report.stopping()
        observer.saw(Notice("forwarder.stopping", {"timeout": config.shutdown_timeout}))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = await daemon.stop()
    observer.saw(Notice("forwarder.stopped", left))
    for each in telemetry:
        each.close()


def _telemetry(config: OtelConfig) -> list[Telemetry]:
    """Return what tells OpenTelemetry, if anything is to."""
    if config.endpoint is None:
        return []
    # Where it is not wanted it need not even be installed.
    from forwarder.observe.telemetry import Telemetry

    return [Telemetry(config)]


def _signals(observer: Observer) -> tuple[asyncio.Event, asyncio.Event]:
    """Return two events: SIGTERM and SIGINT set the first, SIGHUP the second.

    A second SIGTERM or SIGINT ends the process at once.
    """
    stop, reload = asyncio.Event(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            observer.saw(Notice("forwarder.left_at_once", {"signal": number.name}))
            drain_stderr()
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    return stop, reload


class Seen(NamedTuple):
    """The observers that are asked for what they have seen."""

    metrics: Metrics
    refusals: Refusals
    acts: Acts


class Daemon:
    """Everything that runs for one queue."""

    def __init__(
        self,
        assembly: Assembly,
        queue: Queue,
        config_file: ConfigFile,
        note: Note,
        observer: Observer,
        seen: Seen,
    ) -> None:
        self.assembly = assembly
        self._observer = observer
        self.conditions = Conditions(observer, time.time)
        self.history = History(time.monotonic)
        self._note = note
        self._queue = queue
        self.intake = Intake(queue, assembly.envelope, observer, keeps_invalid=assembly.keeps_invalid)
        self.destinations = Destinations(queue, observer, self.intake.fullness)
        self.reloading = Reloading(assembly, config_file, self._put_in_place, observer, self.conditions)
        self.lag = LoopLag()
        fullness = self.intake.fullness
        room = Room(fullness, self.conditions, observer, lambda: self.assembly.shares, time.monotonic)
        admin = AdminApi(
            queue,
            self.destinations,
            self.reloading,
            Readmission(queue, self.intake),
            observer=observer,
            conditions=self.conditions,
            metrics=lambda status, accept: self.readings.metrics(status, accept),
            history=self.history,
            room=room,
            acts=seen.acts,
            refusals=seen.refusals,
            configuration=lambda: to_yaml(self.assembly.config),
            intake=self._ways,
        )
        self._metrics = seen.metrics
        self.readings = Readings(seen.metrics, self.lag, lambda: self._listeners, admin.status)
        # Whoever has something to find out again and again, be it a rate or an early warning, looks here.
        watch = Watch(self.destinations.watched, self.conditions, time.time)
        looks = [
            self.history.look,
            self.destinations.look,
            room.look,
            watch.look,
            lambda _stats: seen.refusals.tell(observer),
        ]
        self.rounds = Rounds(queue, looks, observer)
        self._listeners = Listeners(assembly, self.intake, admin, listening_sockets(os.environ))

    def _ways(self) -> dict[str, WayState]:
        """Return what came in by each way since the start."""
        opened = self._listeners.connections
        return {way: WayState(*self._metrics.came_in(way), opened[way]) for way in get_args(Way)}

    async def start(self) -> None:
        """Start delivering, then accepting. Raises ListenError."""
        for name in await self._queue.configure(self.assembly.shares):
            self._observer.saw(Notice("destination.not_configured", {"destination": name}))
        self._warn(warnings(self.assembly.config))
        await self.destinations.apply(self.assembly.destinations)
        try:
            await self._listeners.apply(self.assembly)
        except BaseException:
            await self.destinations.drain(0.0)
            raise
        self._note.write(self._running())

    def _warn(self, found: Iterable[str]) -> None:
        for warning in found:
            self._observer.saw(Notice("config.warning", {"detail": warning}))

    async def _put_in_place(self, assembly: Assembly) -> None:
        """Put another configuration in place. If ForwarderError is raised, nothing has changed."""
        before, words = self.assembly.config, ("changes only at a start", "Restart.")
        fixed = changed_for_good(before.queue, assembly.config.queue)
        changed = [Problem("the queue", f"queue.{name}", *words) for name in fixed]
        if assembly.config.otel != before.otel:
            changed.append(Problem("OpenTelemetry", "otel", *words))
        if changed:
            raise ConfigError(changed)
        # Opening new addresses may fail, so do that first. For a moment events that come in there meet the old rules.
        await self._listeners.apply(assembly)
        await self._queue.configure(assembly.shares)
        self.intake.envelope, self.intake.keeps_invalid = assembly.envelope, assembly.keeps_invalid
        await self.destinations.apply(assembly.destinations)
        log_to.configure(assembly.config.log.level, assembly.config.log.format)
        known = warnings(self.assembly.config)
        self._warn([warning for warning in warnings(assembly.config) if warning not in known])
        self.assembly = assembly
        self._note.write(self._running())
        self._observer.saw(Notice("reload.done", {"listening": self.listening()}))

    async def stop(self) -> dict[str, int]:
        """Accept nothing more, deliver within `shutdown_timeout`, and stop everything; return what is left."""
        deadline = asyncio.get_running_loop().time() + self.assembly.config.shutdown_timeout
        self.destinations.begin_stop()
        await self._listeners.close_intake(self.assembly.config.shutdown_timeout)
        self.intake.close()
        await self.destinations.drain(max(0.0, deadline - asyncio.get_running_loop().time()))
        await self._listeners.close("admin", "viewer")
        self._note.remove()
        try:
            accounts = (await self._queue.stats()).destinations.values()
        except ForwarderError:
            # The storage fails, and has said so.
            return {}
        return {"queued": sum(account.queued for account in accounts)}

    def _running(self) -> Running:
        """Return the note by which commands find the daemon."""
        kinds = "admin", "http", "stream", "viewer"
        admin, http, stream, viewer = (list(map(str, self._listeners.addresses(kind))) for kind in kinds)
        tokens = [self.assembly.config.admin.token_file, self.assembly.config.ingest.token_file]
        of_admin, of_intake = (None if file is None else str(file.absolute()) for file in tokens)
        return Running(os.getpid(), admin, http, stream, of_admin, of_intake, viewer)

    def wrong(self) -> str | None:
        """Return what an operator should know before all else, in words for people; None where all is well."""
        if (reason := self.destinations.ready()) is not None:
            return reason
        warned = [f"{found.destination or 'forwarder'}: {found.key}" for found in self.conditions.active()]
        return ", ".join([*self.destinations.failing(), *warned]) or None

    def listening(self) -> str:
        """Return the addresses of the intake, in words for people."""
        return ", ".join(str(found) for kind in ("http", "stream") for found in self._listeners.addresses(kind))
