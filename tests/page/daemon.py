"""A daemon as the dashboard sees it: it says what a test wants it to say, and remembers what it was asked for.

Statuses and dead letters are made by the code that makes the real ones.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from forwarder.admin.dead import encode_letter
from forwarder.admin.status import build_status
from forwarder.admin.steering import DestinationStatus
from forwarder.model import Counters, DeadLetter, QueueStats, State
from forwarder.observe.facts import Condition
from forwarder.observe.history import Pace
from forwarder.queue.fullness import Full
from tests.page.sources import FOLDER

# The policy that the page has to live with.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
OPERATOR = {"role": "operator", "may_act": True, "sees_events": True, "login": False, "why_not": None}
VIEWER = {"role": "viewer", "may_act": False, "sees_events": False, "login": False, "why_not": "the viewers' token"}
NOBODY = {"role": None, "may_act": False, "sees_events": False, "login": True, "why_not": "log in to look or act"}


def letter(number: int, **fields: Any) -> DeadLetter:
    """Return a dead letter of the destination `main`."""
    event = fields.pop("event", b'{"eventSourceId":"shop","eventType":"login"}')
    known = {"destination": "main", "reason": "rejected", "status": 422, "detail": "unknown type", **fields}
    return DeadLetter(
        id=number, event_id=f"event-{number}", accepted_at=time.time() - 60, died_at=time.time(), event=event, **known
    )


@dataclass
class Daemon:
    """What the page is told; a change shows with the next status, a tenth of a second later."""

    session: dict[str, Any] = field(default_factory=lambda: dict(OPERATOR))
    token: str = "secret"
    pumps: dict[str, DestinationStatus] = field(default_factory=lambda: {"main": DestinationStatus(State.IDLE)})
    counters: dict[str, Counters] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    full: bool = False
    not_ready: str | None = None
    steps: dict[str, list[int | None]] = field(
        default_factory=lambda: {
            "accepted": [None, 5, 20, 10],
            "delivered": [None, 5, 0, 10],
            "queued": [None, 0, 20, 20],
        }
    )
    problem: bytes | None = None
    """Why there is no status."""
    letters: list[DeadLetter] = field(default_factory=list)
    groups: list[dict[str, Any]] | None = None
    """What is said of the letters, if it is not what is so."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    """What is wrong with the next event that is edited."""
    told: list[tuple[str, Any]] = field(default_factory=list)
    """The acts: the path, and what was sent."""
    url: str = ""
    _port: int = 0
    _runner: web.AppRunner | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def status(self) -> bytes:
        dead = Counters(accepted=len(self.letters), dead=len(self.letters))
        accounts = {name: self.counters.get(name, dead if name == "main" else Counters()) for name in self.pumps}
        status = build_status(
            QueueStats("sqlite", 1 << 20, 4 << 20, destinations=accounts),
            self.pumps,
            version="1.0.0",
            uptime=60.0,
            not_ready=self.not_ready,
            now=time.time(),
            pace=lambda _name: Pace(2.0, 1.0, None),
            conditions=self.conditions,
            full={None: Full("the queue is full", time.time() - 60, 5, 0)} if self.full else {},
        )
        return msgspec.json.encode(status)

    # --- from the test's thread ------------------------------------------------------------------

    def stop(self) -> None:
        """Go away, and cut every connection."""
        self._wait(self._stop())

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._wait(self._start())

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/", self._file)
        app.router.add_get("/page/{name}", self._file)
        app.router.add_get("/v1/live", self._live)
        app.router.add_get("/v1/dead", self._dead)
        app.router.add_route("*", "/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # --- what it answers -------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        is_api = request.path.startswith("/v1/") and request.path != "/v1/session"
        if is_api and self.session["role"] is None:
            return _problem(401, "a bearer token is required")
        if is_api and request.method != "GET":
            if request.headers.get("X-Forwarder-Act") != "1":
                return _problem(403, "the header X-Forwarder-Act is missing")
            self.told.append((request.path, json.loads(await request.text() or "null")))
        response: web.StreamResponse = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(FOLDER / request.match_info.get("name", "index.html"))

    async def _live(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            said = b"status\ndata: " + self.status() if self.problem is None else b"problem\ndata: " + self.problem
            await response.write(b"event: " + said + b"\n\n")
            await asyncio.sleep(0.1)
        return response

    async def _dead(self, request: web.Request) -> web.StreamResponse:
        if not self.session["sees_events"]:
            return _problem(403, "viewers see no events")
        wanted = dict(request.query)
        after, limit = int(wanted.pop("after", 0)), int(wanted.pop("limit", 1_000_000))
        found = [each for each in self.letters if each.id > after and _is_like(each, wanted)]
        return web.Response(text="".join(f"{encode_letter(each).decode()}\n" for each in found[:limit]))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.match_info["path"].split("/"):
            case "GET", ["session"]:
                return web.json_response(self.session)
            case "POST", ["session"]:
                if (await request.json())["token"] != self.token:
                    return _problem(401, "the token is wrong")
                self.session = dict(OPERATOR)
                return web.json_response(self.session)
            case "GET", ["history"]:
                history = dict.fromkeys(self.pumps, self.steps)
                return web.json_response({"step_seconds": 10, "from": "2026-01-01T00:00:00Z", "destinations": history})
            case "GET", ["activity"]:
                return web.json_response(ACTIVITY)
            case "GET", ["dead", "groups"]:
                return web.json_response(self._groups())
            case "GET", ["configuration"]:
                return web.json_response({"yaml": "queue:\n  path: /var/lib/forwarder/queue.db\n"})
            case "POST", ["dead", ("replay" | "purge") as verb]:
                return web.json_response({"replayed" if verb == "replay" else "dropped": len(self._taken(request))})
            case "POST", ["dead", "edit"] if self.errors:
                return _problem(422, "1 error", errors=self.errors)
            case "POST", ["dead", "edit"]:
                return web.json_response({"edited": len(self._taken(request))})
            case "POST", ["destinations", _name, _verb]:
                return web.Response(status=204)
        return _problem(404, "nothing here")

    def _groups(self) -> list[dict[str, Any]]:
        if self.groups is not None:
            return self.groups
        groups: dict[tuple[Any, ...], dict[str, Any]] = {}
        for each in self.letters:
            key = {"destination": each.destination, "reason": each.reason, "status": each.status, "detail": each.detail}
            times = {"events": 0, "first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z"}
            groups.setdefault(tuple(key.values()), {**key, **times})["events"] += 1
        return list(groups.values())

    def _taken(self, _request: web.Request) -> list[DeadLetter]:
        """Take away what the last act was about."""
        wanted = {name: value for name, value in self.told[-1][1].items() if name not in {"all", "event"}}
        gone = [each for each in self.letters if _is_like(each, wanted)]
        self.letters = [each for each in self.letters if each not in gone]
        return gone


def _is_like(each: DeadLetter, wanted: dict[str, Any]) -> bool:
    known = {"destination": each.destination, "reason": each.reason, "status": each.status, "detail": each.detail}
    for name, value in wanted.items():
        match name:
            case "text":
                is_like = value in each.event.decode()
            case "id":
                is_like = str(value) in {str(each.id), each.event_id}
            case "ids":
                is_like = str(each.id) in value
            case _:
                is_like = str(known[name] if known[name] is not None else "none") == str(value)
        if not is_like:
            return False
    return True


def _problem(status: int, detail: str, **more: Any) -> web.Response:
    return web.json_response({"detail": detail, **more}, status=status, content_type="application/problem+json")


HOSTILE = '<img src=x onerror="window.wasRun=true"><script>window.wasRun=true</script>'
ACTIVITY = {
    "acts": [
        {"at": "2026-01-01T00:00:00Z", "act": "purge_dead", "who": {"uid": 1000, "pid": 7}, "what": {"reason": HOSTILE}}
        | {"result": {"dropped": 3}, "failure": None}
    ],
    "refusals": [
        {"way": "http", "problem": "invalid-event", "peer": "uid 1001", "detail": HOSTILE, "number": 3}
        | {"first": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:01:00Z"}
    ],
}


@contextmanager
def running() -> Iterator[Daemon]:
    """Run a daemon beside a synchronous test."""
    daemon = Daemon()
    loop = daemon.loop
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
