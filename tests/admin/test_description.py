"""The description of the admin API: true, complete, and no more than the truth."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog.testing
from openapi_spec_validator import validate

from forwarder import __version__
from forwarder.admin import status as statuses
from forwarder.admin.activity import ActivityState, ActState, RefusedState
from forwarder.admin.dead import DeadLine, Wanted, encode_letter
from forwarder.admin.entrance import Terms
from forwarder.admin.letters import Edited, GroupState
from forwarder.admin.login import SessionState
from forwarder.admin.past import HistoryState, StepsState
from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.errors import (
    BusyError,
    FieldsTooLargeError,
    RequestLineTooLongError,
    ShuttingDownError,
    SilentClientError,
    StorageError,
    UnsupportedError,
)
from forwarder.model import Address, LastError, Segment, State
from forwarder.web.reach import Reach
from tests.admin.serving import FakeDaemon, FakeReloads, api_of, entrance, serving
from tests.openapi import PLAIN_PROBLEMS, Body, Described, Place, problem_names
from tests.queue.watched import NOW, WatchedQueue

ADMIN = Described("forwarder.admin")
TOKEN = {"Authorization": "Bearer s3cret"}
STEERING = [("POST", f"/v1/destinations/{{name}}/{verb}") for verb in ("flush", "pause", "resume")]
QUEUE = [("GET", "/v1/destinations/{name}/queue"), ("DELETE", "/v1/destinations/{name}/queue")]
DEAD = ("GET", "/v1/dead")
PAGE = [("GET", "/"), ("GET", "/page/{name}")]
SESSION = [("GET", "/v1/session"), ("POST", "/v1/session"), ("DELETE", "/v1/session")]
MOVING = [("POST", "/v1/dead/replay"), ("POST", "/v1/dead/purge")]
LOOKING = [(method, path) for method in ("GET", "HEAD") for path in ("/metrics", "/v1/status", "/openapi.json")]
GROUPS, EDIT = ("GET", "/v1/dead/groups"), ("POST", "/v1/dead/edit")
SHOWING = [("GET", f"/v1/{what}") for what in ("history", "activity", "configuration")]
LIVE = ("GET", "/v1/live")
RELOAD = ("POST", "/v1/reload")
PROBES = [(method, path) for method in ("GET", "HEAD") for path in ("/healthz", "/readyz")]
FREE = [*PROBES, *PAGE, *SESSION]
STATUS = [("GET", "/v1/status"), ("HEAD", "/v1/status")]
METRICS = [("GET", "/metrics"), ("HEAD", "/metrics")]
TOUCHING = [*STATUS, *STEERING, *QUEUE, DEAD, GROUPS, *MOVING, EDIT, RELOAD]
"""What asks the queue, which may fail."""
MAIN = {"json": {"destination": "main"}}
LETTER = {"destination": "main", "id": 1}
EDITED = {"json": {**LETTER, "event": {"eventSourceId": "app", "eventType": "y"}}}

TOUCHED: dict[tuple[str, str], dict[str, Any]] = {
    DEAD: {"params": {"destination": "main"}},
    EDIT: EDITED,
    **dict.fromkeys(MOVING, MAIN),
}
"""What is sent for that, if anything."""

# How each answer that is described is brought about; `name` is that of the destination.
PROVOKED: dict[Place, dict[str, Any]] = {
    **{(*place, 200): {} for place in (*PROBES, *LOOKING, *SHOWING, LIVE, *QUEUE, DEAD)},
    **{
        (*place, status): {"headers": headers}
        for place in (*SHOWING, LIVE)
        for status, headers in (
            (401, {"Authorization": ""}),
            (403, {"Origin": "null"}),
            (417, {"Expect": "wonders"}),
        )
    },
    (*SHOWING[0], 400): {"params": {"span": "week"}},
    (*LIVE, 503): {},
    (*GROUPS, 200): {},
    (*EDIT, 200): EDITED,
    (*EDIT, 400): {"json": {}},
    (*EDIT, 404): {"json": {**LETTER, "id": 9, "event": {}}},
    (*EDIT, 409): {"json": {**LETTER, "destination": "old", "event": {}}},
    (*EDIT, 413): {"data": Body(b" " * 2_000_000)},
    (*EDIT, 422): {"json": {**LETTER, "event": {"eventSourceId": "app"}}},
    **{(*place, 200): MAIN for place in MOVING},
    **{(*place, 204): {} for place in STEERING},
    **{(*place, 200): {"name": "index.html"} for place in PAGE},
    **{(*place, 200): {"json": {"token": "s3cret"}} for place in SESSION},
    (*PAGE[1], 404): {"name": "nothing.js"},
    (*SESSION[0], 401): {"headers": {"Authorization": "Bearer wrong"}},
    (*SESSION[1], 400): {"json": {}},
    (*SESSION[1], 401): {"json": {"token": "wrong"}},
    (*SESSION[1], 413): {"data": Body(b" " * 2_000_000)},
    (*SESSION[1], 429): {"json": {"token": "wrong"}},
    **{(*place, 403): {"headers": {"Origin": "null"}} for place in (*FREE, *LOOKING, *TOUCHING)},
    **{(*place, 417): {"headers": {"Expect": "wonders"}} for place in (*FREE, *LOOKING, *TOUCHING)},
    **{(*place, 401): {"headers": {"Authorization": ""}} for place in (*LOOKING, *TOUCHING)},
    **{(*place, 400): {"params": {"limit": "0"}} for place in (QUEUE[0], DEAD)},
    (*QUEUE[1], 400): {"params": {"object": "user"}},
    **{(*place, 400): {"json": {}} for place in MOVING},
    (*RELOAD, 200): {},
    (*RELOAD, 409): {},
    **{(*place, 404): {"name": "nobody"} for place in (*STEERING, *QUEUE)},
    (*DEAD, 404): {"params": {"destination": "nobody"}},
    **{(*place, 404): {"json": {"destination": "nobody"}} for place in MOVING},
    **{(*place, 409): {"name": "old"} for place in STEERING},
    **{(*place, 413): {"data": Body(b" " * 2_000_000)} for place in MOVING},
    **{(*place, status): TOUCHED.get(place, {}) for place in TOUCHING for status in (500, 503)},
    **{(*place, 500): {} for place in METRICS},
    ("GET", "/readyz", 503): {},
    ("HEAD", "/readyz", 503): {},
}


def test_it_is_openapi() -> None:
    """The description is valid OpenAPI 3.1 and names the version that runs."""
    validate(ADMIN.document)
    assert ADMIN.document["info"]["version"] == __version__


def test_every_route_is_described() -> None:
    """The description has each route of the application, and no other."""
    queue = WatchedQueue()
    api = api_of(queue)
    routes = api.application(entrance(Address(path="/none"), Reach.FILE, Terms())).router.routes()
    found: set[tuple[str, str]] = set()
    for route in routes:
        path = route.resource.canonical if route.resource is not None else ""
        described = {path}
        # One route serves several verbs; they are described one by one.
        if path.endswith("/{verb}"):
            verbs = re.findall(r"flush|pause|resume", str(route.resource.get_info()["pattern"]))  # type: ignore[union-attr]
            described = {path.replace("{verb}", verb) for verb in verbs}
        found |= {(route.method, path) for path in described}
    assert found == ADMIN.operations


def test_the_problems_are_those_that_there_are() -> None:
    """Every problem that the admin API can answer with is described, and none of the intake's own."""
    of_events = UnsupportedError, BusyError
    of_connections = SilentClientError, RequestLineTooLongError, FieldsTooLargeError
    wanted = problem_names(*of_events, *of_connections) | PLAIN_PROBLEMS | {"not-ready", "reload-refused"}
    assert wanted == ADMIN.problems


def test_every_answer_is_brought_about_below() -> None:
    """No answer is described that nothing brings about."""
    assert PROVOKED.keys() == ADMIN.places


@pytest.mark.parametrize("place", PROVOKED, ids=str)
async def test_an_answer(place: Place, tmp_path: Path) -> None:
    """Each answer that is described can be had, with the headers and the body that are described."""
    method, path, status = place
    arguments = dict(PROVOKED[place])
    queue = WatchedQueue()
    daemon = FakeDaemon(queue, "main")
    await queue.append([Segment(name, 1, b"{}\n") for name in ("main", "old")])
    queue.bury()
    error = LastError(at=NOW, status=None, detail="no answer")
    daemon.states["main"] = DestinationStatus(State.BACKING_OFF, 3, 1.5, NOW, error)
    if status in {500, 503}:
        queue.error = RuntimeError("secret") if status == 500 else StorageError("I/O error")
        daemon.reason = "the queue is full"
    reloads = FakeReloads(Refusal(NOW, ("queue.path: changes only at a start",)) if status == 409 else None)
    reloads.error = (
        RuntimeError("secret") if status == 500 else ShuttingDownError("it stops") if status == 503 else None
    )
    url = path.replace("{name}", arguments.pop("name", "main"))
    headers = {**TOKEN, **arguments.pop("headers", {})}
    if isinstance(body_of := arguments.get("data"), Body):
        arguments["data"] = body_of()
    with structlog.testing.capture_logs():
        async with serving(queue, daemon, Address(path=str(tmp_path / "a.sock")), "s3cret", reloads) as served:
            connector = aiohttp.UnixConnector(served.address.path or "", limit=0)
            async with (
                aiohttp.ClientSession("http://localhost", connector=connector) as session,
                AsyncExitStack() as responses,
            ):
                # Only the last one is too many.
                times = 11 if status == 429 else 33 if (*LIVE, 503) == place else 1
                for _ in range(times):
                    response = await responses.enter_async_context(
                        session.request(method, url, headers=headers, **arguments)
                    )
                    answered, found = response.status, response.headers
                    is_endless = url == LIVE[1] and answered == 200
                    body = await response.content.readuntil(b"\n\n") if is_endless else await response.read()
    assert answered == status, body
    ADMIN.check(place, found, body)


@pytest.mark.parametrize("event", [b'{"n":1.0}', b"\xff"])
async def test_dead_letters_are_as_described(event: bytes) -> None:
    """Each line of the dead letters is as the schema says, also that of a damaged event."""
    queue = WatchedQueue()
    queue.bury(event=event)
    ADMIN.check_named("DeadLetter", json.loads(encode_letter(queue.dead[0])))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Status", statuses.Status),
        ("QueueState", statuses.QueueState),
        ("DestinationState", statuses.DestinationState),
        ("ErrorState", statuses.ErrorState),
        ("ReloadState", statuses.ReloadState),
        ("DeadLetter", DeadLine),
        ("SessionState", SessionState),
        ("HistoryState", HistoryState),
        ("StepsState", StepsState),
        ("ActivityState", ActivityState),
        ("ActState", ActState),
        ("RefusedState", RefusedState),
        ("GroupState", GroupState),
        ("Edited", Edited),
        ("Wanted", Wanted),
    ],
)
def test_no_field_is_forgotten(name: str, kind: type[msgspec.Struct]) -> None:
    """A schema has the fields of what it describes, and demands those that are always there."""
    schema = ADMIN.document["components"]["schemas"][name]
    assert set(schema["properties"]) == set(kind.__struct_encode_fields__)
    always = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    assert schema.get("required", []) == always


def test_all_states_are_described() -> None:
    """The states of a destination are those that the description lists."""
    described = ADMIN.document["components"]["schemas"]["DestinationState"]["properties"]["state"]["enum"]
    assert described == [state.value for state in State]


@pytest.mark.parametrize("token", [None, "s3cret"])
async def test_a_token_is_described_where_it_is_wanted(tmp_path: Path, token: str | None) -> None:
    """The description that is served speaks of a token only where one is configured."""
    queue = WatchedQueue()
    async with serving(queue, FakeDaemon(queue), Address(path=str(tmp_path / "a.sock")), token) as served:
        connector = aiohttp.UnixConnector(served.address.path or "")
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/openapi.json", headers=TOKEN) as response,
        ):
            document = await response.json()
    validate(document)
    assert ("security" in document) == ("securitySchemes" in document["components"]) == (token is not None)
    assert document["paths"] == ADMIN.document["paths"]
