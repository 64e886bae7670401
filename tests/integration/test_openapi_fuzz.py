"""Both HTTP APIs of a real daemon against their descriptions, with requests that schemathesis makes up of them.

Each operation is asked in two ways: with what its description allows, which has to be accepted, and
with what it forbids, which has to be refused. Either answer has to be one that is described, as it
is described.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests
import schemathesis
from hypothesis import assume, given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth

from tests.events import UUID
from tests.fuzzing import examples
from tests.integration.destination import destination
from tests.integration.process import Forwarder
from tests.openapi import Described

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.fuzz

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
COMPRESS: dict[str | bytes, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}
TOKEN = "s3cret"
# Bytes of a path and its query that surely fit into a request line.
_MAX_LINE = 6000
# An answer that never ends cannot be compared with its description.
ENDLESS = {("GET", "/v1/live")}
# Characters of a body that surely is not too large.
_MAX_BODY = 200_000
# What schemathesis makes of a line of NDJSON, which its schema does not say.
LINES = st.lists(
    st.sampled_from(
        [
            b'{"eventSourceId":"app","eventType":"t"}',
            b'{"eventSourceId":"app","eventType":"dead","eventId":"%b"}' % UUID.encode(),
            b"",
        ]
    )
).map(b"\n".join)

for name in ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"):
    schemathesis.openapi.media_type(name, LINES)
schemathesis.openapi.media_type("application/x-jsonlines", LINES)


def asked() -> list[Any]:
    """Return each operation with the ways in which it can be asked."""
    found = []
    for kind, described in (("http", Described("forwarder.ingest")), ("admin", Described("forwarder.admin"))):
        for method, path in sorted(described.operations - ENDLESS):
            item = described.document["paths"][path]
            operation = item[method.lower()]
            # A path can hold no wrong name, and nothing is wrong where nothing is said.
            says = "requestBody" in operation or "parameters" in operation
            modes = [POSITIVE, NEGATIVE] if says else [POSITIVE]
            found += [pytest.param(kind, method, path, mode, id=f"{kind} {method} {path} {mode}") for mode in modes]
    return found


class Session(requests.Session):
    """Compresses each body as its header says: schemathesis knows the header, not what it means."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        compress = COMPRESS.get(request.headers.get("Content-Encoding", ""))
        if compress is not None:
            body = request.body or b""
            assert isinstance(body, str | bytes)
            request.prepare_body(compress(body.encode() if isinstance(body, str) else body), None)
        return super().send(request, **kwargs)


class Api:
    """The two APIs of a daemon that runs, as their descriptions say."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.session = Session()
        # Over TCP nothing but a token lets anybody act.
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"
        self._schemas: dict[str, Any] = {}
        for kind in ("http", "admin"):
            (address,) = [
                line["address"].removeprefix("tcp:")
                for line in forwarder.logged("listener.opened")
                if line["kind"] == kind and line["address"].startswith("tcp:")
            ]
            url = f"http://{address}"
            document = self.session.get(f"{url}/openapi.json", timeout=10).json()
            schema = schemathesis.openapi.from_dict(document)
            schema.config.update(base_url=url)
            self._schemas[kind] = schema

    def operation(self, kind: str, method: str, path: str) -> APIOperation[Any, Any, Any, Any]:
        found: APIOperation[Any, Any, Any, Any] = self._schemas[kind][path][method]
        return found

    def complaints(self) -> list[str]:
        """Return the lines of the log that no request may bring about."""
        return [line for line in self.forwarder.log_text().splitlines() if '"error"' in line or "Traceback" in line]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("openapi")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN, encoding="utf-8")
    with destination() as served:
        forwarder = Forwarder(
            folder / "forwarder",
            f"{served.url}/put",
            ingest={"http": {"listen": ["tcp:127.0.0.1:0"]}},
            admin={"listen": [f"unix:{folder}/forwarder/admin.sock", "tcp:127.0.0.1:0"], "token_file": str(token)},
        )
        forwarder.config["destinations"]["reject"] = {
            **forwarder.config["destinations"]["main"],
            "url": f"{served.url}/reject",
        }
        forwarder.write_config()
        asyncio.run(forwarder.start())
        try:
            yield Api(forwarder)
        finally:
            asyncio.run(forwarder.stop())


@pytest.mark.parametrize(("kind", "method", "path", "mode"), asked())
def test_an_operation(api: Api, kind: str, method: str, path: str, mode: GenerationMode) -> None:
    """What the description allows is accepted, what it forbids is refused, and each answer is as described."""
    operation = api.operation(kind, method, path)

    @examples(25)
    @given(operation.as_strategy(generation_mode=mode), st.sampled_from([None, "main", "reject"]))
    def ask(case: Case[Any], name: str | None) -> None:
        if name is not None and "name" in case.path_parameters:
            case.path_parameters["name"] = name
        # An empty header counts as none.
        assume("" not in case.headers.values())
        # What does not fit into a request line is refused before anybody looks at the operation (414).
        assume(len(urlencode(case.query, doseq=True)) + len(quote(str(case.path_parameters))) < _MAX_LINE)
        # Nor does a body that is too large (413).
        assume(len(repr(case.body)) < _MAX_BODY)
        # With this, what is refused is accepted as a dead letter, and the answer is 202.
        assume(mode is POSITIVE or "dead_letter" not in str(case.query.get("invalid")))
        # The admin API answers 429 after ten wrong tokens, which schemathesis does not take for a refusal. That each
        # operation wants the right one is tried in admin/test_description.py.
        case.call_and_validate(session=api.session, excluded_checks=[ignored_auth] if kind == "admin" else [])

    ask()
    assert api.complaints() == []


def test_accounts_add_up(api: Api) -> None:
    """After all of it, each account of the daemon adds up, and it still takes events."""
    base = api.operation("http", "POST", "/v1/events").base_url
    event = {"eventSourceId": "app", "eventType": "last"}
    answer = api.session.post(f"{base}/v1/events", json=event, timeout=10)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    # What was refused on request is in an account of its own.
    assert asyncio.run(api.forwarder.status())["destinations"].keys() - {"invalid"} == {"main", "reject"}
