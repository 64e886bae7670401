"""A batch on its way to `/put`: what is signed, what is sent, and what the answer means."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config import DestinationConfig, TlsConfig
from forwarder.destination.base import Answer, Outlook
from forwarder.destination.http_put.put import HttpPut, payload
from forwarder.model import Batch, Outcome, Slice
from forwarder.signing import Signer, Verifier
from tests.certificates import Authority
from tests.delivery.conftest import raw_server
from tests.destination.http_put.servers import answering, at, proxy, tls_server

events = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3), min_size=1)
BATCH = Batch("main", (Slice(0, 2, 0.0),), b'{"n":0}\n{"n":1}\n')


def lines(found: list[dict[str, object]]) -> bytes:
    """Return events as a segment has them."""
    return b"".join(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for event in found)


async def answer_to(signer: Signer, head: bytes, responses: dict[int, Outcome] | None = None) -> Answer:
    """Return what a batch is said to be answered where the answer begins so."""
    server = answering(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
    async with raw_server(server) as port:
        config = at(port, responses=responses or {})
        put = HttpPut("main", config, signer)
        try:
            return await put.send(await put.prepare(BATCH))
        finally:
            await put.aclose()


async def test_a_batch_is_signed(signer: Signer) -> None:
    """What is prepared is the JWS of the array of the events, the same bytes each time."""
    put = HttpPut("main", at(1), signer)
    body = await put.prepare(BATCH)
    assert json.loads(Verifier([signer.public("pem")]).verify(body).payload) == [{"n": 0}, {"n": 1}]
    assert await put.prepare(BATCH) == body


def test_the_log_names_the_key(signer: Signer) -> None:
    """Algorithm and thumbprint tell which key a destination is started with."""
    put = HttpPut("main", at(1), signer)
    assert put.description == {"alg": signer.alg, "key": signer.thumbprint}


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"200 OK", Answer(Outcome.DELIVERED, status=200)),
        (b"400 Bad", Answer(Outcome.REJECTED, "400 Bad", status=400, is_about_events=True)),
        (b"413 Big", Answer(Outcome.TOO_LARGE, "413 Big", status=413, is_about_events=True)),
        (b"401 Who", Answer(Outcome.HELD, "401 Who", status=401, is_about_events=True, refuses_key=True)),
        (b"403 No", Answer(Outcome.HELD, "403 No", status=403, is_about_events=True, refuses_key=True)),
        (b"407 Who", Answer(Outcome.HELD, "407 Who", status=407, is_about_events=True)),
        (b"500 Oh", Answer(Outcome.DEFERRED, "500 Oh", status=500, is_about_events=True)),
        (b"408 Late", Answer(Outcome.DEFERRED, "408 Late", status=408, is_about_events=True)),
        (b"425 Early", Answer(Outcome.DEFERRED, "425 Early", status=425)),
        (b"429 Busy", Answer(Outcome.DEFERRED, "429 Busy", status=429)),
        (b"503 Later\r\nRetry-After: 7", Answer(Outcome.DEFERRED, "503 Later", 7.0, 503)),
        (b"503 Later\r\nRetry-After: soon", Answer(Outcome.DEFERRED, "503 Later", None, 503)),
    ],
)
async def test_what_an_answer_means(signer: Signer, head: bytes, answer: Answer) -> None:
    """Status and Retry-After become an outcome, seconds, and whether it may be the fault of the events."""
    assert await answer_to(signer, head) == answer


async def test_the_configuration_may_say_what_a_status_means(signer: Signer) -> None:
    """An override replaces the outcome of a status, and only that."""
    assert (await answer_to(signer, b"403 No", {403: Outcome.DEFERRED})).outcome is Outcome.DEFERRED
    assert (await answer_to(signer, b"401 No", {403: Outcome.DEFERRED})).outcome is Outcome.HELD


async def test_what_was_not_sent_is_not_about_the_events(signer: Signer) -> None:
    """Where nobody listens the batch is deferred, and nothing in it can be the reason."""
    found = await HttpPut("main", at(1), signer).send(b"a.b.c")
    assert (found.outcome, found.status, found.is_about_events) == (Outcome.DEFERRED, None, False)
    assert "cannot connect" in found.detail


class TestOutlook:
    async def test_nothing_is_known_at_first(self, signer: Signer) -> None:
        """Without TLS and before the first answer there is nothing to say."""
        assert HttpPut("main", at(1), signer).outlook == Outlook()

    @pytest.mark.parametrize("ahead", [-3600, 0, 90])
    async def test_the_clock(self, signer: Signer, ahead: int) -> None:
        """The date of an answer tells how far the clocks differ, whatever the status."""
        date = formatdate(time.time() - ahead, usegmt=True).encode()
        for head in (b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Busy"):
            answers = answering(head + b"\r\nDate: " + date + b"\r\nContent-Length: 0\r\n\r\n")
            async with raw_server(answers) as port:
                put = HttpPut("main", at(port), signer)
                await put.send(b"a.b.c")
                assert put.outlook.clock_ahead == pytest.approx(ahead, abs=20)
                await put.aclose()

    @pytest.mark.parametrize("date", [b"soon", b"Wed, 99 Foo 2015 07:28:00 GMT", b"x" * 5000])
    async def test_a_date_that_is_none(self, signer: Signer, date: bytes) -> None:
        """What is no date says nothing, and costs nothing of the answer."""
        answers = answering(b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\nContent-Length: 0\r\n\r\n")
        async with raw_server(answers) as port:
            put = HttpPut("main", at(port), signer)
            assert (await put.send(b"a.b.c")).outcome is Outcome.DELIVERED
            assert put.outlook.clock_ahead is None
            await put.aclose()

    async def test_the_certificate_of_the_server(self, signer: Signer, authority: Authority) -> None:
        """When it ends is known from the first connection on; one that has ended is told as well."""
        async with tls_server(authority, ends_in=5 * 3600.0) as port:
            config = DestinationConfig(
                url=f"https://localhost:{port}/put", signing=at(1).signing, tls=TlsConfig(ca_file=authority.file)
            )
            put = HttpPut("main", config, signer)
            await put.send(b"a.b.c")
            _trusted, server = put.outlook.certificates
            assert server.what == f"the certificate of localhost:{port}"
            assert server.ends - time.time() == pytest.approx(5 * 3600, abs=60)
            await put.aclose()
        async with tls_server(authority, ends_in=-5.0) as port:
            config = replace(config, url=f"https://localhost:{port}/put")
            put = HttpPut("main", config, signer)
            answer = await put.send(b"a.b.c")
            assert "has expired" in answer.detail
            assert "renewed" in answer.hint
            ended = put.outlook.certificates[-1]
            assert ended.ends <= time.time()
            assert not ended.is_exact
            await put.aclose()

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_the_certificate_of_a_proxy(self, signer: Signer, authority: Authority, scheme: str) -> None:
        """What a proxy shows is told as the proxy's, and what is known of the destination's stays as it is."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.issue("localhost", ends_in=5 * 3600.0))
        async with tls_server(authority, ends_in=9 * 3600.0) as port, proxy([], ssl=context) as proxied:
            put = HttpPut(
                "main",
                DestinationConfig(
                    url=f"{scheme}://localhost:{port}/put",
                    signing=at(1).signing,
                    proxy=f"https://localhost:{proxied}",
                    tls=TlsConfig(ca_file=authority.file),
                ),
                signer,
            )
            assert (await put.send(b"a.b.c")).outcome is Outcome.DELIVERED
            shown = put.outlook.certificates[1:]
            whose = [f"the certificate of localhost:{proxied}", f"the certificate of localhost:{port}"]
            assert [found.what for found in shown] == (whose if scheme == "https" else whose[:1])
            assert shown[0].ends - time.time() == pytest.approx(5 * 3600, abs=60)
            # New connections get it from now on.
            context.load_cert_chain(*authority.issue("localhost", ends_in=-5.0))
            assert "has expired" in (await put.send(b"a.b.c", fresh=True)).detail
            of_proxy, *of_destination = put.outlook.certificates[1:]
            assert (of_proxy.what, of_proxy.is_exact) == (whose[0], False)
            assert of_proxy.ends <= time.time()
            assert tuple(of_destination) == shown[1:]
            await put.aclose()


class TestPayload:
    @given(events)
    def test_is_the_array_of_exactly_the_events(self, found: list[dict[str, object]]) -> None:
        """The payload is a JSON array of the events, each as it was written."""
        data = lines(found)
        assert json.loads(payload(data)) == found
        assert payload(data) == b"[" + b",".join(data[:-1].split(b"\n")) + b"]"

    @given(events)
    def test_single_as_object(self, found: list[dict[str, object]]) -> None:
        """With `as_object` a lone event is sent without the array around it, and several are not."""
        data = payload(lines(found), as_object=True)
        assert json.loads(data) == (found[0] if len(found) == 1 else found)
