"""A real daemon that is sent anything at all: it answers, keeps its accounts, logs no error and leaks nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import FACTOR, examples
from tests.hostile import bodies, json_like, many_lines
from tests.integration.destination import Destination, destination
from tests.integration.process import PATIENCE, Forwarder
from tests.reference import Rules

pytestmark = pytest.mark.fuzz

MAX_EVENT: Final = 256 * 1024
RULES: Final = Rules({}, {"main": {}}, MAX_EVENT)
GOOD: Final = b'{"eventSourceId":"app","eventType":"t"}'
# Seconds after which no further answer is waited for: the daemon waits for the rest of a request.
QUIET: Final = 0.15

_status_line = re.compile(rb"HTTP/\d\.\d (\d{3}) [A-Za-z -]+\r\n")
# As it begins an answer of the intake; in a status it stands elsewhere.
_accepted = re.compile(rb'\{"accepted": ?(\d+)')


class Daemon:
    """A forwarder under fire, and its destination."""

    def __init__(self, forwarder: Forwarder, served: Destination) -> None:
        self.forwarder = forwarder
        self.served = served
        self._read = 0

    def account(self) -> dict[str, Any]:
        return asyncio.run(self.forwarder.account())

    def deliver(self) -> dict[str, Any]:
        """Wait until everything is delivered, whatever the admin API was asked; return the account."""
        status, _ = asyncio.run(self.forwarder.admin("POST", "/v1/destinations/main/resume"))
        assert status == 204
        return asyncio.run(self.forwarder.settled())

    def check_log(self) -> None:
        """Check that no request has brought about an error since the last look."""
        with self.forwarder.log_file.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines()
            self._read = log.tell()
        assert [line for line in lines if b'"error"' in line or b"Traceback" in line] == []

    def connect(self, kind: str) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(str(self.forwarder.folder / f"{kind}.sock"))
        return peer


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with destination() as served:
        forwarder = Forwarder(tmp_path_factory.mktemp("fuzz"), f"{served.url}/put")
        asyncio.run(forwarder.start())
        try:
            yield Daemon(forwarder, served)
        finally:
            asyncio.run(forwarder.stop())


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut data at places counted in percent."""
    at = [0, *sorted(len(data) * cut // 100 for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(at)]


places = st.lists(st.integers(0, 100), max_size=4)


# --- the stream --------------------------------------------------------------------------------


def converse(daemon: Daemon, parts: list[bytes]) -> list[dict[str, Any]]:
    """Send lines over a connection of the stream, end it, and return all answers."""

    def send() -> None:
        for part in parts:
            peer.sendall(part)
        peer.shutdown(socket.SHUT_WR)

    with daemon.connect("stream") as peer:
        sender = threading.Thread(target=send)
        sender.start()
        with peer.makefile("rb") as answers:
            found = [json.loads(line) for line in answers]
        sender.join()
    return found


def check_answers(answers: list[dict[str, Any]], fates: list[int | None]) -> None:
    """Check that each line was settled once, in order, with the right verdict."""
    settled, refused = 0, {}
    for answer in answers:
        if "ack" in answer:
            assert answer.keys() == {"ack"}
            assert answer["ack"] > settled
            settled = answer["ack"]
        else:
            assert answer.keys() == {"refused", "status", "detail"}
            assert settled < answer["refused"] <= len(fates)
            assert answer["refused"] not in refused
            refused[answer["refused"]] = answer["status"]
    assert settled == len(fates)
    assert refused == {line: status for line, status in enumerate(fates, 1) if status is not None}


@examples(60)
@given(many_lines(), places)
def test_the_stream_settles_every_line_once(daemon: Daemon, stream: bytes, cuts: list[int]) -> None:
    """Whatever is sent, acks only grow, each line is stored or refused once, and the account has those stored."""
    before = daemon.account()["accepted"]
    fates = RULES.stream(stream, MAX_EVENT + 1)
    check_answers(converse(daemon, pieces(stream, cuts)), fates)
    assert daemon.account()["accepted"] - before == fates.count(None)
    daemon.check_log()


@pytest.mark.parametrize("bad", [b"x", b'{"version":1}', b"x" * 300_000, b'{"eventSourceId":"a","eventType":"\xff"}'])
def test_a_flood_of_bad_lines(daemon: Daemon, bad: bytes) -> None:
    """Very many bad lines among good ones are each refused, by their number."""
    lines = [bad if number % 3 else GOOD for number in range(12_000 if len(bad) < 100 else 60)]
    stream = b"\n".join([*lines, b"", b" ", GOOD])
    check_answers(converse(daemon, [stream]), RULES.stream(stream, MAX_EVENT + 1))
    daemon.check_log()


# --- HTTP, well-formed or not ------------------------------------------------------------------

TARGETS: Final = {
    "http": [
        *[b"/v1/events"] * 6,
        *[b"/v1/events?return=ids", b"/v1/events?return=%ff%zz", b"/v1/events?&&=", b"/healthz", b"/openapi.json"],
    ],
    "admin": [
        *[b"/v1/dead/replay", b"/v1/dead/purge"] * 3,
        *[b"/v1/dead", b"/v1/dead?id=%ff&reason=%ed%a0%80", b"/v1/dead?older_than=1e308&limit=1", b"/v1/status"],
        *[b"/v1/destinations/main/queue?limit=3", b"/v1/destinations/%00%2f%ff/flush", b"/v1/destinations/main/flush"],
        *[b"/v1/destinations/main/pause", b"/v1/destinations/main/resume", b"/readyz", b"/openapi.json"],
    ],
}
ODD_TARGETS: Final = [
    *[b"/", b"*", b"", b"//[", b"/../../etc/passwd", b"/%zz%00", b"\xff\xfe", b"/v1/events HTTP/1.1\r\nX: y", b"a:1"],
    *[b"http://localhost/v1/events", b"http://[::1/", b"http://x:99999999/", b"/" + b"x" * 9000, b"/?" + b"&=" * 2000],
]
METHODS: Final = [*[b"POST"] * 8, b"GET", b"DELETE", b"PUT", b"OPTIONS", b"CONNECT", b"P@ST", b"", b"post", b"TRACE"]
VERSIONS: Final = [*[b"HTTP/1.1"] * 10, b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"ICY/1.1", b"HTTP/1.1 "]
HEADERS: Final = [
    *[b"Content-Type: application/json"] * 6,
    *[b"Content-Type: application/x-ndjson", b'Content-Type: ;;="', b"Content-Type: application/json; charset=\xff"],
    *[b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: zstd", b"Content-Encoding: br"],
    *[b"Expect: 100-continue", b"Expect: wonders", b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket"],
    *[b"Host: evil.example", b"Host: [::1", b"Origin: null", b"Authorization: Bearer \xff", b"Cookie: \xff=;;="],
    *[b"X: a\x00b", b"X: a\r\n b", b"no colon", b": empty", b"X" * 9000 + b": y", b"X: " + b"y" * 9000, b"X : y"],
    b"\r\n".join(b"X-%d: y" % number for number in range(1500)),
    *[b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked"],
    *[b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1, 1"],
]


def framings(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return ways, right and wrong, to say how long a body is: a header, and the body as it is sent."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    length = b"Content-Length: %d" % len(body)
    return [
        *[(length, body)] * 6,
        *[(b"Transfer-Encoding: chunked", chunks)] * 3,
        (length + b"\r\n" + length, body),
        (length + b"\r\nContent-Length: %d" % (len(body) + 5), body),
        (length + b"\r\nTransfer-Encoding: chunked", chunks),
        (b"Content-Length: %d" % (len(body) + 7), body),
        (b"Content-Length: %d" % (len(body) // 2), body),
        (b"Content-Length: +%d" % len(body), body),
        (b"Transfer-Encoding: chunked", b"zz\r\n" + chunks),
        (b"Transfer-Encoding: chunked", b"ffffffffffffffffff\r\n" + body),
        (b"Transfer-Encoding: chunked", chunks.replace(b"\r\n", b"\n")),
        (b"Transfer-Encoding: chunked", b"1;" + b"x" * 9000 + b"\r\nx\r\n" + chunks),
        (b"Transfer-Encoding: chunked", chunks[:-2] + b"X: y\r\n" * 500 + b"\r\n"),
        (b"X: y", body),
    ]


@st.composite
def requests(draw: st.DrawFn, kind: str) -> bytes:
    """Write a request that is more or less HTTP."""
    body = draw(st.one_of(st.just(GOOD), st.just(b'{"all":true}'), bodies(), json_like()))
    oddness = draw(st.integers(0, 2))
    odd = st.integers(0, 5).map(lambda number: number < oddness)
    target = draw(st.sampled_from(ODD_TARGETS if draw(odd) else TARGETS[kind]))
    method = draw(st.sampled_from(METHODS if draw(odd) else [b"POST"]))
    version = draw(st.sampled_from(VERSIONS if draw(odd) else [b"HTTP/1.1"]))
    length, sent = draw(st.sampled_from(framings(body) if draw(odd) else framings(body)[:9]))
    headers = [b"Host: localhost", b"Content-Type: application/json", length]
    if draw(odd):
        headers = draw(
            st.permutations([*headers[draw(st.integers(0, 2)) :], *draw(st.lists(st.sampled_from(HEADERS)))])
        )
    return b"%b %b %b\r\n%b\r\n\r\n%b" % (method, target, version, b"\r\n".join(headers), sent)


@st.composite
def conversations(draw: st.DrawFn, kind: str) -> bytes:
    """Write several requests at once, perhaps with something spoiled."""
    data = b"".join(draw(st.lists(requests(kind), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 3)) :]
    return data + draw(st.sampled_from([b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]))


def ask(daemon: Daemon, kind: str, parts: list[bytes]) -> tuple[bytes, bool]:
    """Send bytes; return what was answered until nothing more came, and whether the daemon closed."""
    found = b""
    with daemon.connect(kind) as peer:
        try:
            for part in parts:
                peer.sendall(part)
            peer.settimeout(QUIET)
            while data := peer.recv(64 * 1024):
                found += data
        except TimeoutError:
            # What the daemon still waits for will not come; once it has closed, nothing goes on.
            peer.settimeout(PATIENCE)
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(64 * 1024):
                found += data
            return found, False
        except ConnectionError:
            # The daemon has refused to read the rest.
            pass
    return found, True


@pytest.mark.parametrize("kind", ["http", "admin"])
def test_http_of_any_kind(daemon: Daemon, kind: str) -> None:
    """Whatever HTTP is made of a request, the answers are those of a server: no 5xx; what is stored was acked."""

    @examples(150)
    @given(conversations(kind), places)
    def speak(data: bytes, cuts: list[int]) -> None:
        before = daemon.account()["accepted"]
        answers, closed = ask(daemon, kind, pieces(data, cuts))
        statuses = set(map(int, _status_line.findall(answers)))
        assert answers == b"" or _status_line.match(answers)
        assert all(status < 500 for status in statuses), answers
        acked = sum(map(int, _accepted.findall(answers)))
        stored = daemon.account()["accepted"] - before
        assert stored == acked if closed and kind == "http" else stored >= acked
        daemon.check_log()

    speak()


# --- at the end --------------------------------------------------------------------------------


def test_everything_that_was_accepted_arrives(daemon: Daemon) -> None:
    """After all of it nothing is dead: whatever was accepted is JSON at the destination, unless it was purged."""
    account = daemon.deliver()
    assert account["dead"] == 0
    assert daemon.served.taken == account["delivered"] == account["accepted"] - account["dropped"]
    daemon.check_log()


class Crowd:
    """Clients of every kind, one after the other, by chance that can be repeated."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self._daemon = daemon
        self._random = random.Random(seed)

    def come(self, count: int) -> None:
        """Let so many clients connect, do something, and go, each in its own way."""
        for _ in range(count):
            kind = self._random.choice(["http", "http", "stream", "admin"])
            with self._daemon.connect(kind) as peer:
                data = self._words(kind)
                if self._random.random() < 0.3:
                    data = data[: self._random.randrange(len(data) + 1)]
                try:
                    peer.sendall(data)
                    self._go(peer)
                except ConnectionError:
                    # Refused before all was said.
                    continue

    def _words(self, kind: str) -> bytes:
        body = self._random.choice([GOOD, b"[" + GOOD + b"]", b"{", self._random.randbytes(300), b"[" * 5000])
        if kind == "stream":
            return b"\n".join([body] * self._random.randrange(20))
        length, sent = self._random.choice(framings(body))
        target = self._random.choice([*TARGETS[kind], *ODD_TARGETS])
        more = self._random.choice(HEADERS)
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%b\r\n%b\r\n\r\n"
        return head % (target, length, more) + sent

    def _go(self, peer: socket.socket) -> None:
        match self._random.choice(["wait", "leave", "end", "reset"]):
            case "wait":
                peer.settimeout(0.005)
                try:
                    peer.recv(64 * 1024)
                except TimeoutError:
                    return
            case "end":
                peer.shutdown(socket.SHUT_WR)
                peer.settimeout(PATIENCE)
                while peer.recv(64 * 1024):
                    pass
            case "reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def descriptors(forwarder: Forwarder) -> int:
    """Return how many files and sockets the process has open."""
    assert forwarder.process is not None
    return len(list(Path(f"/proc/{forwarder.process.pid}/fd").iterdir()))


def test_nothing_leaks(daemon: Daemon) -> None:
    """Thousands of clients later the daemon has no more descriptors and hardly more memory than after the first."""
    Crowd(daemon, 1).come(1500)
    idle = settle(daemon, None)
    before = daemon.forwarder.rss()
    Crowd(daemon, 2).come(3000 * FACTOR)
    settle(daemon, idle)
    # A quarter more than what the first clients made necessary is what allocators take; a leak takes more.
    assert daemon.forwarder.rss() < before * 1.25 + 8 * 1024 * 1024
    daemon.check_log()


def settle(daemon: Daemon, wanted: int | None) -> int:
    """Wait until all is delivered and the descriptors are as many as wanted, or no longer change; return how many."""
    daemon.deliver()
    deadline = time.monotonic() + PATIENCE
    last, since = descriptors(daemon.forwarder), time.monotonic()
    while True:
        now = descriptors(daemon.forwarder)
        if wanted is not None and now <= wanted:
            return now
        if now != last:
            last, since = now, time.monotonic()
        # Requests that were refused are listened to for two seconds more.
        if wanted is None and time.monotonic() - since > 3:
            return now
        assert time.monotonic() < deadline, f"{now} descriptors are open, there were {wanted}"
        time.sleep(0.05)
