"""Reload: read and check everything first, then put it in place; on any error keep the old configuration.

A reload is triggered by a signal, by the admin API, or by a key, token or certificate that was replaced on
disk; only one runs at a time. In the last case the configuration itself is not read again, because somebody
may be in the middle of editing it: that it has changed is told as a condition. With `reload: auto` it is read, once
it has been the same for two looks. The reason why a reload was refused is kept until the next one succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from forwarder.admin.steering import Refusal
from forwarder.config import Config
from forwarder.daemon.assembly import Assembly, Files
from forwarder.daemon.config_file import ConfigFile
from forwarder.daemon.report import Report
from forwarder.errors import ConfigError, ForwarderError, ShuttingDownError
from forwarder.observe.base import Observer
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Notice
from forwarder.waiting import wait_at_most

# Seconds between two checks of the files of keys, tokens and certificates.
_LOOK_AT_FILES_SECONDS = 2.0

Load = Callable[[], Config]

_NOT_READ = "{path} has changed since it was read: what it says now is not in force"


class Reloading:
    """The reloads of one daemon, which starts with `assembly`.

    `file` is the configuration and `put_in_place` applies it; if that raises ForwarderError, nothing has changed.
    """

    def __init__(
        self,
        assembly: Assembly,
        file: ConfigFile,
        put_in_place: Callable[[Assembly], Awaitable[None]],
        observer: Observer,
        conditions: Conditions,
    ) -> None:
        self._assembly = assembly
        self.file = file
        file.took_effect()
        self._conditions = conditions
        self._was_unread = False
        self._put_in_place = put_in_place
        self._observer = observer
        self._tried = assembly.files
        self._one_at_a_time = asyncio.Lock()
        self._running: set[asyncio.Task[Refusal | None]] = set()
        self._report: Report | None = None
        self.refused: Refusal | None = None
        """Why the last reload was refused; None if it succeeded."""

    async def reload(self) -> Refusal | None:
        """Read configuration, keys and tokens again and put them in place; return why this was refused, or None.

        The reload goes on even if the caller is cancelled, because it may close the very connection over which
        it was requested. Raises ShuttingDownError while the daemon starts or stops.
        """
        return await self._begin(self.file.load)

    async def run(self, wanted: asyncio.Event, report: Report) -> None:
        """Reload whenever `wanted` is set or a file was replaced, until cancelled; meanwhile `reload` works, too."""
        self._report = report
        try:
            while True:
                await wait_at_most(_LOOK_AT_FILES_SECONDS, wanted)
                if wanted.is_set():
                    wanted.clear()
                    await self.reload()
                await self._look_at_files()
        finally:
            self._report = None
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _look_at_files(self) -> None:
        found = await asyncio.to_thread(self._look)
        if self.file.was_put_back() and found == self._assembly.files:
            # The file says again what is in force, so there is nothing to read, nor to refuse, any more.
            self._ended(None)
        await self._look_at_config()
        # Files that were refused are not tried again until they change again.
        if found == self._tried:
            return
        self._tried = found
        if found == self._assembly.files:
            # The old files were put back, so there is nothing to refuse any more.
            self._ended(None)
        else:
            await self._begin(lambda: self._assembly.config)

    def _look(self) -> Files:
        self.file.look()
        return self._assembly.files_now()

    async def _look_at_config(self) -> None:
        """Read a configuration that has changed, or tell that nobody has."""
        is_unread, is_auto = self.file.is_unread, self._assembly.config.reload == "auto"
        # Whoever writes it may not have come to the end at the first look.
        if is_unread and is_auto and self._was_unread:
            await self.reload()
        self._was_unread = is_unread
        detail = _NOT_READ.format(path=self.file.name) if is_unread and not is_auto else None
        self._conditions.set("config.not_read", detail)

    async def _begin(self, load: Load) -> Refusal | None:
        if self._report is None:
            raise ShuttingDownError("the forwarder starts or stops just now")
        task = asyncio.create_task(self._one(load), name="reload")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _one(self, load: Load) -> Refusal | None:
        async with self._one_at_a_time:
            if self._report is not None:
                self._report.reloading()
            problems = await self._try(load)
            refused = Refusal(time.time(), tuple(problems)) if problems else None
            self._ended(refused)
            return refused

    async def _try(self, load: Load) -> list[str]:
        """Put another configuration in place, or return what is wrong with it."""
        try:
            assembly = await asyncio.to_thread(lambda: Assembly.build(load()))
            await self._put_in_place(assembly)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
        except ForwarderError as error:
            problems = [f"{error.message}. {error.hint}" if error.hint else error.message]
        except Exception as error:
            self._observer.saw(Notice("reload.failed", {}, error))
            return [f"{type(error).__name__}, see the log"]
        else:
            self._assembly = assembly
            if load == self.file.load:
                self.file.took_effect()
            return []
        for problem in problems:
            self._observer.saw(Notice("reload.refused", {"problem": problem}))
        return problems

    def _ended(self, refused: Refusal | None) -> None:
        self.refused = refused
        if self._report is not None:
            self._report.reloaded(None if refused is None else str(refused))
