"""What an API's description promises, and whether an answer keeps it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator

from forwarder.errors import ForwarderError
from forwarder.problems import PROBLEMS
from forwarder.web.description import describe

_METHODS = ("get", "head", "post", "put", "patch", "delete")
# The problems that belong to no error of the forwarder's.
PLAIN_PROBLEMS = frozenset({"not-found", "method-not-allowed", "internal"})

Place = tuple[str, str, int]
"""A method, a path and a status."""


@dataclass(frozen=True)
class Described:
    """The description of the API in a package."""

    package: str

    @cached_property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(describe(self.package, wants_token=True))
        return found

    @property
    def operations(self) -> set[tuple[str, str]]:
        """Return all methods and paths."""
        return {
            (method.upper(), path)
            for path, item in self.document["paths"].items()
            for method in item
            if method in _METHODS
        }

    @property
    def places(self) -> set[Place]:
        """Return all methods, paths and statuses."""
        return {
            (method, path, int(status))
            for method, path in self.operations
            for status in self.document["paths"][path][method.lower()]["responses"]
        }

    @property
    def problems(self) -> set[str]:
        """Return the names of all problems."""
        found = self.document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        return {name.removeprefix("urn:forwarder:problem:") for name in found}

    def check(self, place: Place, headers: Mapping[str, str], body: bytes) -> None:
        """Check that an answer has the headers, the content type and the body that are described."""
        method, path, status = place
        response = self._resolved(self.document["paths"][path][method.lower()]["responses"][str(status)])
        for name, header in response.get("headers", {}).items():
            text = headers[name]
            self.check_value(header["schema"], int(text) if header["schema"].get("type") == "integer" else text)
        if "content" not in response:
            assert body == b""
            return
        kind = headers["Content-Type"].partition(";")[0]
        schema = response["content"][kind]["schema"]
        self.check_value(schema, json.loads(body) if kind.endswith("json") and "nd" not in kind else body.decode())

    def check_value(self, schema: Mapping[str, Any], value: Any) -> None:
        """Check a value against a schema of the document."""
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(value)

    def check_named(self, name: str, value: Any) -> None:
        """Check a value against the schema of that name."""
        self.check_value({"$ref": f"#/components/schemas/{name}"}, value)

    def _resolved(self, item: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in item:
            found: Any = self.document
            for part in item["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            item = found
        return item


def problem_names(*without: type[ForwarderError]) -> set[str]:
    """Return the names of the problems that errors are told as, but for some of these errors."""
    return {problem.name for error, problem in PROBLEMS.items() if error not in without}


@dataclass(frozen=True)
class Body:
    """A body that can be sent any number of times; it may never end."""

    data: bytes
    ends: bool = True

    def __call__(self) -> io.BytesIO | AsyncIterator[bytes]:
        return io.BytesIO(self.data) if self.ends else self._for_ever()

    async def _for_ever(self) -> AsyncIterator[bytes]:
        yield self.data
        await asyncio.Event().wait()


async def read(response: aiohttp.ClientResponse) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body."""
    return response.status, response.headers, await response.read()
