"""The description of the intake: true, complete, and no more than the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from forwarder import __version__
from forwarder.errors import (
    NotConfiguredError,
    QueueFullError,
    TooManyGuessesError,
    TooManyWatchersError,
    UnknownDestinationError,
    UnknownLetterError,
)
from tests.fixtures import Logs
from tests.ingest.serving import MAX_REQUEST, StubbornQueue, event, serving
from tests.openapi import PLAIN_PROBLEMS, Body, Described, Place, problem_names, read

INTAKE = Described("forwarder.ingest")
TOKEN = {"Authorization": "Bearer s3cret"}
EVENTS = ("POST", "/v1/events")
PATHS = ("/healthz", "/openapi.json")

# How each answer that is described is brought about.
PROVOKED: dict[Place, dict[str, Any]] = {
    (*EVENTS, 202): {"json": [event(1), event(2)], "params": {"return": "ids"}},
    (*EVENTS, 400): {"data": b"{", "headers": {"Content-Type": "application/json"}},
    (*EVENTS, 401): {"json": event(1), "headers": {"Authorization": "Bearer wrong"}},
    (*EVENTS, 403): {"json": event(1), "headers": {"Origin": "null"}},
    (*EVENTS, 408): {"data": Body(b"{", ends=False), "headers": {"Content-Type": "application/json"}},
    (*EVENTS, 413): {"data": Body(b" " * (MAX_REQUEST + 1)), "headers": {"Content-Type": "application/json"}},
    (*EVENTS, 415): {"data": b"x", "headers": {"Content-Type": "text/plain"}},
    (*EVENTS, 417): {"json": event(1), "headers": {"Expect": "wonders"}},
    (*EVENTS, 422): {"json": [event(1), {"version": 1}]},
    (*EVENTS, 431): {"json": event(1), "headers": {"X": "x" * 8200}},
    (*EVENTS, 500): {"json": event(1)},
    (*EVENTS, 503): {"json": event(1)},
    **{(method, path, 200): {} for method in ("GET", "HEAD") for path in PATHS},
    **{(method, path, 403): {"headers": {"Origin": "null"}} for method in ("GET", "HEAD") for path in PATHS},
    **{(method, "/openapi.json", 401): {"headers": {"Authorization": ""}} for method in ("GET", "HEAD")},
}
REFUSALS = {500: RuntimeError("secret"), 503: QueueFullError("the queue is full")}


def test_it_is_openapi() -> None:
    """The description is valid OpenAPI 3.1 and names the version that runs."""
    validate(INTAKE.document)
    assert INTAKE.document["info"]["version"] == __version__


def test_the_problems_are_those_that_there_are() -> None:
    """Every problem that the intake can answer with is described, and no other."""
    of_admin = (
        UnknownDestinationError,
        NotConfiguredError,
        TooManyGuessesError,
        TooManyWatchersError,
        UnknownLetterError,
    )
    assert problem_names(*of_admin) | PLAIN_PROBLEMS == INTAKE.problems


def test_every_answer_is_brought_about_below() -> None:
    """No answer is described that nothing brings about."""
    assert PROVOKED.keys() == INTAKE.places


@pytest.mark.parametrize("place", PROVOKED, ids=str)
async def test_an_answer(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    """Each answer that is described can be had, with the headers and the body that are described."""
    method, path, status = place
    monkeypatch.setattr("forwarder.ingest.http._IDLE_SECONDS", 0.05 if status == 408 else 60)
    arguments = dict(PROVOKED[place])
    headers = {**TOKEN, **arguments.pop("headers", {})}
    if isinstance(body_of := arguments.get("data"), Body):
        arguments["data"] = body_of()
    queue = StubbornQueue(REFUSALS[status]) if status in REFUSALS else None
    async with serving(tmp_path, queue=queue, token="s3cret") as served:
        connector = aiohttp.UnixConnector(served.address["http"].path or "")
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.request(method, path, headers=headers, **arguments) as response,
        ):
            answered, found, body = await read(response)
    assert answered == status, body
    INTAKE.check(place, found, body)
    assert [line["event"] for line in logs] == (["intake.failed"] if status == 500 else [])
    logs.clear()


async def test_nothing_else_is_there(tmp_path: Path) -> None:
    """A path that is described answers other methods with 405, and other paths are 404."""
    methods = {path: {method for method, other in INTAKE.operations if other == path} for _, path in INTAKE.operations}
    async with serving(tmp_path) as served:
        connector = aiohttp.UnixConnector(served.address["http"].path or "")
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            for path, described in methods.items():
                for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - described:
                    async with session.request(method, path) as response:
                        assert (response.status, set(response.headers["Allow"].split(", "))) == (405, described)
            async with session.get("/v1/other") as response:
                document = await response.json(content_type=None)
    assert response.status == 404
    INTAKE.check_named("Problem", document)
    assert all(path in document["detail"] for path in methods)


@pytest.mark.parametrize("token", [None, "s3cret"])
async def test_a_token_is_described_where_it_is_wanted(tmp_path: Path, token: str | None) -> None:
    """The description that is served speaks of a token only where one is configured."""
    async with serving(tmp_path, token=token) as served:
        connector = aiohttp.UnixConnector(served.address["http"].path or "")
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/openapi.json", headers=TOKEN) as response,
        ):
            document = await response.json()
    validate(document)
    assert ("security" in document) == ("securitySchemes" in document["components"]) == (token is not None)
    assert document["paths"] == INTAKE.document["paths"]
