"""Inspect and control the daemon over HTTP.

    GET    /                                    the dashboard, with its files under /page/
    GET    /v1/session                          who is asking, and what they may do; POST logs in, DELETE logs out
    GET    /healthz                             the process lives
    GET    /readyz                              200 while events can be accepted, else 503 with the reason
    GET    /metrics                             for Prometheus
    GET    /v1/status                           everything at a glance (see `status`)
    GET    /v1/live                             the same, again and again, as server-sent events
    GET    /v1/history                          what came and went lately, step by step: span
    GET    /v1/activity                         the last acts, and what was refused
    GET    /v1/configuration                    what is in force, with secrets masked
    POST   /v1/destinations/NAME/flush          attempt a delivery now
    POST   /v1/destinations/NAME/pause, resume
    GET    /v1/destinations/NAME/queue          the queued events, oldest first, as NDJSON: limit
    DELETE /v1/destinations/NAME/queue          drop them: {"dropped": N}; those of a source, or about an object
    GET    /v1/dead                             dead letters as NDJSON: destination, id, reason, status, detail, source,
                                                type, object, text, older_than, after, limit
    GET    /v1/dead/groups                      how many there are of each destination, reason and answer
    POST   /v1/dead/replay, purge               {"replayed": N} or {"dropped": N}; the same filters in a JSON object
    POST   /v1/dead/edit                        replay one with another text: destination, id, event
    POST   /v1/reload                           read configuration and keys again: {"reloaded": true}, or 409
    GET    /openapi.json                        the description of the API

A GET never changes anything. Who may do what is decided by `guard` and `entrance`; the table of routes says
what each of them needs. The probes `/healthz` and `/readyz` and the files of the page need nothing, as they
reveal nothing. The queue of a destination that is no longer configured can be read and purged, but not
controlled.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from forwarder import __version__
from forwarder.admin.activity import Acts, build_activity
from forwarder.admin.acts import acting, filter_of_events
from forwarder.admin.dead import parse_events, parse_limit
from forwarder.admin.entrance import Entrance, Need, Rights
from forwarder.admin.guard import Allowed, Guard
from forwarder.admin.letters import Letters
from forwarder.admin.live import Live
from forwarder.admin.login import Login
from forwarder.admin.page import Page, make_safe
from forwarder.admin.past import build_history
from forwarder.admin.privacy import without_answers
from forwarder.admin.status import Status, WayState, build_status
from forwarder.admin.steering import Readmission, Reloads, Room, Steering
from forwarder.admin.stream import stream_lines
from forwarder.errors import MalformedError, NotConfiguredError, UnavailableError, UnknownDestinationError
from forwarder.model import State
from forwarder.observe.base import Observer
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Notice
from forwarder.observe.history import History
from forwarder.observe.refusals import Refusals
from forwarder.problems import TOLD
from forwarder.queue.base import Inspection
from forwarder.web.description import description_response
from forwarder.web.problems import problem_of, problem_response
from forwarder.web.server import first_line


class AdminApi:
    """The admin API of one daemon.

    `readmission` accepts what is dead once more; `metrics` returns the
    metrics that belong to a status, which the queue may be unable to give, in the format of an `Accept` header, and
    their media type; `intake` returns what came in by each way; `configuration` returns what is in force as YAML, with
    secrets masked; `now` returns seconds since the epoch.
    """

    def __init__(
        self,
        queue: Inspection,
        steering: Steering,
        reloads: Reloads,
        readmission: Readmission,
        *,
        observer: Observer,
        conditions: Conditions,
        metrics: Callable[[Status | None, str], Awaitable[tuple[bytes, str]]],
        history: History,
        room: Room,
        acts: Acts,
        refusals: Refusals,
        configuration: Callable[[], str],
        intake: Callable[[], Mapping[str, WayState]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._steering = steering
        self._reloads = reloads
        self._observer = observer
        self._conditions = conditions
        self._metrics = metrics
        self._history = history
        self._room = room
        self._intake = intake
        self._now = now
        self._acts = acts
        self._refusals = refusals
        self._configuration = configuration
        self._guard = Guard(conditions)
        self._page = Page()
        self._letters = Letters(queue, observer, readmission, self._state_of, now)
        self._live = Live(self._status_for, observer)
        self._started = time.monotonic()

    def application(self, entrance: Entrance) -> web.Application:
        """Build the application for one listening address, at which people have the rights of `entrance`."""
        app = web.Application(middlewares=[self._answer_problems, _at_the_door(entrance)])
        for method, path, need, handler in self._routes(entrance):
            app.router.add_route(method, path, self._guard.allow(entrance, need, handler))
        app.on_response_prepare.append(make_safe)

        async def end_streams(_app: web.Application) -> None:
            self._live.close(entrance)

        app.on_shutdown.append(end_streams)
        return app

    def _routes(self, entrance: Entrance) -> Iterator[tuple[str, str, Need, Allowed]]:
        """Yield every route: its method, its path, what it needs, and what answers."""
        login = Login(self._guard, entrance)

        async def watch(request: web.Request, rights: Rights) -> web.StreamResponse:
            check = partial(self._guard.rights, entrance, request, Need.LOOK)
            return await self._live.watch(request, entrance, sees_events=rights.sees_events, check=check)

        async def describe(_request: web.Request, _rights: Rights) -> web.Response:
            return description_response("forwarder.admin", wants_token=entrance.knows_tokens)

        yield hdrs.METH_GET, "/", Need.NOTHING, self._page.start
        yield hdrs.METH_GET, "/page/{name}", Need.NOTHING, self._page.file
        yield hdrs.METH_GET, "/v1/session", Need.NOTHING, login.tell
        yield hdrs.METH_POST, "/v1/session", Need.NOTHING, login.log_in
        yield hdrs.METH_DELETE, "/v1/session", Need.NOTHING, login.log_out
        for method in (hdrs.METH_GET, hdrs.METH_HEAD):
            yield method, "/healthz", Need.NOTHING, self._healthz
            yield method, "/readyz", Need.NOTHING, self._readyz
            yield method, "/metrics", Need.LOOK, self._metrics_of_now
            yield method, "/v1/status", Need.LOOK, self._status
            yield method, "/openapi.json", Need.LOOK, describe
        yield hdrs.METH_GET, "/v1/live", Need.LOOK, watch
        yield hdrs.METH_GET, "/v1/history", Need.LOOK, self._past
        yield hdrs.METH_GET, "/v1/activity", Need.LOOK, self._activity
        yield hdrs.METH_GET, "/v1/configuration", Need.LOOK, self._show_configuration
        yield hdrs.METH_POST, "/v1/reload", Need.RELOAD, self._reload
        yield hdrs.METH_POST, "/v1/destinations/{name}/{verb:flush|pause|resume}", Need.ACT, self._steer
        yield hdrs.METH_GET, "/v1/destinations/{name}/queue", Need.SEE_EVENTS, self._peek
        yield hdrs.METH_DELETE, "/v1/destinations/{name}/queue", Need.ACT, self._purge
        yield hdrs.METH_GET, "/v1/dead", Need.SEE_EVENTS, self._letters.list
        yield hdrs.METH_GET, "/v1/dead/groups", Need.LOOK, self._letters.groups
        yield hdrs.METH_POST, "/v1/dead/replay", Need.ACT, self._letters.replay
        yield hdrs.METH_POST, "/v1/dead/purge", Need.ACT, self._letters.purge
        yield hdrs.METH_POST, "/v1/dead/edit", Need.ACT, self._letters.edit

    @web.middleware
    async def _answer_problems(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every error into problem details."""
        try:
            return await handler(request)
        except TOLD as error:
            return problem_of(error)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.method} is not possible here; {allowed} is"
            return problem_response(405, "method-not-allowed", detail, headers={hdrs.ALLOW: allowed})
        except web.HTTPNotFound:
            return problem_response(404, "not-found", f"there is nothing at {request.path}")
        except web.HTTPRequestEntityTooLarge as error:
            return problem_response(413, "too-large", error.text or "the request is too large")
        except (HttpProcessingError, web.RequestPayloadError) as error:
            words = error.message if isinstance(error, HttpProcessingError) else str(error)
            return problem_of(MalformedError(f"the body cannot be read: {first_line(words)}"))
        except ConnectionError:
            # The client is gone, so there is nobody to answer and nothing to log.
            raise
        except Exception as error:
            self._observer.saw(Notice("admin.failed", {"method": request.method, "path": request.path}, error))
            return problem_response(500, "internal", "the daemon failed to answer; its log has the traceback")

    async def status(self) -> Status:
        """Return the answer to `GET /v1/status`."""
        return await self._status_for(True)

    async def _status_for(self, sees_events: bool) -> Status:
        """Return the status for somebody who sees the contents of events, or does not."""
        pumps = await self._steering.status()
        if not sees_events:
            pumps = {name: without_answers(pump) for name, pump in pumps.items()}
        return build_status(
            await self._queue.stats(),
            pumps,
            version=__version__,
            uptime=time.monotonic() - self._started,
            not_ready=self._steering.ready(),
            pace=self._history.pace,
            now=self._now(),
            refused=self._reloads.refused,
            conditions=self._conditions.active(),
            config=self._reloads.file,
            full=self._room.full,
            full_in_seconds=self._room.full_in_seconds,
            intake=self._intake(),
        )

    # --- inspecting ----------------------------------------------------------------------------

    async def _healthz(self, _request: web.Request, _rights: Rights) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request, _rights: Rights) -> web.Response:
        reason = self._steering.ready()
        if reason is not None:
            return problem_response(503, "not-ready", reason)
        return web.Response(text="ready\n")

    async def _status(self, _request: web.Request, rights: Rights) -> web.Response:
        return _json(await self._status_for(rights.sees_events))

    async def _past(self, request: web.Request, _rights: Rights) -> web.Response:
        if request.query.keys() - {"span"} or len(request.query) > 1:
            raise MalformedError("the history takes one parameter, span")
        return _json(build_history(self._history, request.query.get("span", "hour"), self._now()))

    async def _activity(self, _request: web.Request, rights: Rights) -> web.Response:
        acts, refusals = self._acts.recent(), self._refusals.recent()
        return _json(build_activity(acts, refusals, sees_events=rights.sees_events))

    async def _show_configuration(self, _request: web.Request, _rights: Rights) -> web.Response:
        return _json({"yaml": self._configuration()})

    async def _metrics_of_now(self, request: web.Request, _rights: Rights) -> web.Response:
        accept = ", ".join(request.headers.getall(hdrs.ACCEPT, []))
        try:
            status = await self.status()
        except UnavailableError:
            # What was counted is still told, above all that nothing can be accepted.
            status = None
        body, media_type = await self._metrics(status, accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: media_type})

    async def _reload(self, request: web.Request, _rights: Rights) -> web.Response:
        with acting(self._observer, request, "reload") as outcome:
            refused = await self._reloads.reload()
            outcome["refused"] = refused is not None
        if refused is not None:
            hint = "the old configuration goes on"
            return problem_response(409, "reload-refused", str(refused), problems=refused.problems, hint=hint)
        return _json({"reloaded": True})

    # --- destinations --------------------------------------------------------------------------

    async def _steer(self, request: web.Request, _rights: Rights) -> web.Response:
        name, verb = request.match_info["name"], request.match_info["verb"]
        state = await self._state_of(name)
        if state is State.INVALID:
            raise NotConfiguredError(f"{name!r} is no destination: it cannot be told to {verb}", hint="see `dead list`")
        if state is State.REMOVED:
            raise NotConfiguredError(
                f"destination {name!r} is no longer configured: it cannot be told to {verb}",
                hint="configure it again, or export and purge its queue",
            )
        with acting(self._observer, request, verb, destination=name):
            match verb:
                case "flush":
                    await self._steering.flush(name)
                case "pause":
                    await self._steering.pause(name)
                case _:
                    await self._steering.resume(name)
        return web.Response(status=204)

    async def _peek(self, request: web.Request, _rights: Rights) -> web.StreamResponse:
        name = request.match_info["name"]
        if request.query.keys() - {"limit"} or len(request.query.getall("limit", [])) > 1:
            raise MalformedError("the queue takes one parameter, limit")
        limit = parse_limit(request.query)
        await self._state_of(name)
        return await stream_lines(self._observer, request, self._queue.peek(name, limit))

    async def _purge(self, request: web.Request, _rights: Rights) -> web.Response:
        name = request.match_info["name"]
        has_no_pump = await self._state_of(name) in {State.INVALID, State.REMOVED}
        purge = self._queue.purge if has_no_pump else self._steering.purge
        wanted = parse_events([*request.query.items()])
        with acting(self._observer, request, "purge", destination=name, **filter_of_events(wanted)) as outcome:
            outcome["dropped"] = await purge(name, wanted)
        return _json(outcome)

    async def _state_of(self, name: str) -> State:
        """Return the state of a destination. Raises UnknownDestinationError."""
        known = (await self.status()).destinations
        if name not in known:
            raise UnknownDestinationError(
                f"there is no destination {name!r}; the destinations are {', '.join(sorted(known)) or 'none'}"
            )
        return known[name].state


def _at_the_door(entrance: Entrance) -> Middleware:
    """Return a middleware that refuses whoever may not even connect, and foreign pages, whatever they ask for."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        entrance.access.check(request.headers, request.transport)
        return await handler(request)

    return check


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
