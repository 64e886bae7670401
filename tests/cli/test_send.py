"""`forwarder send`."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.cli.over_http import lots, seconds_of
from forwarder.cli.splitter import Chunk
from forwarder.errors import UnavailableError
from forwarder.model import Address
from tests.cli.console import Ended, run, run_on_terminal
from tests.cli.intake import Receiving, receiving, scripted


def event(number: int, **fields: object) -> dict[str, object]:
    return {"eventSourceId": "app", "eventType": "x", "n": number, **fields}


def ndjson(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def numbers(received: Receiving) -> list[int]:
    return [json.loads(line)["n"] for line in received.queue.queued()]


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path) as intake:
        yield intake


@pytest.fixture(params=["stream", "http"])
def to(request: pytest.FixtureRequest, intake: Receiving) -> str:
    """Both ways in: what is true of one is true of the other."""
    return str(intake.stream) if request.param == "stream" else f"http+{intake.http}"


def config(tmp_path: Path, intake: Receiving, *, extra: str = "") -> str:
    file = tmp_path / "forwarder.yaml"
    file.write_text(
        "destinations: {main: {url: 'https://example.com/put', signing: {key_file: /k.pem}}}\n"
        f"ingest:\n  http: {{listen: ['{intake.http}']}}\n  stream: {{listen: ['{intake.stream}']}}\n{extra}"
    )
    return str(file)


# --- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (ndjson(event(1), event(2), event(3)), [1, 2, 3]),
        (json.dumps([event(1), event(2)], indent=2).encode(), [1, 2]),
        (json.dumps(event(7), indent=2).encode(), [7]),
        (json.dumps(event(7)).encode(), [7]),
        (b"\n" + ndjson(event(1)) + b"\n\n" + ndjson(event(2)).rstrip(), [1, 2]),
    ],
)
def test_forms_of_input(intake: Receiving, to: str, data: bytes, sent: list[int]) -> None:
    """An object, an array and lines are sent, in order, and the number of events that were stored is said."""
    ended = run("send", "--to", to, stdin=data)
    assert ended == Ended(0, f"{len(sent)} event{'s' * (len(sent) > 1)} accepted\n", "")
    assert numbers(intake) == sent


def test_from_a_file(intake: Receiving, to: str, tmp_path: Path) -> None:
    """A file is sent like standard input."""
    (tmp_path / "events").write_bytes(ndjson(*map(event, range(5000))))
    assert run("send", str(tmp_path / "events"), "--to", to).out == "5,000 events accepted\n"
    assert numbers(intake) == list(range(5000))


@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]"])
def test_nothing(data: bytes) -> None:
    """Input without events is no failure, and needs nobody who listens."""
    assert run("send", "--to", "unix:/nowhere", stdin=data) == Ended(0, "0 events\n", "")


def test_from_a_pipe_that_stays_open(intake: Receiving, to: str) -> None:
    """What comes through a pipe is sent as it comes, not only at the end of the input."""
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for number in range(3):
                pipe.write(ndjson(event(number)))
                deadline = time.monotonic() + 5
                while len(intake.queue.queued()) <= number:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert run("send", "--to", to, stdin=reading).out == "3 events accepted\n"
    feeder.join(10)
    assert len(intake.queue.appends) == 3


def test_progress_on_a_terminal(intake: Receiving, to: str, tmp_path: Path) -> None:
    """On a terminal a bar shows how far it is, and the end is the same line as elsewhere."""
    (tmp_path / "events").write_bytes(ndjson(*map(event, range(2000))))
    ended = run_on_terminal("send", str(tmp_path / "events"), "--to", to)
    assert "2,000 events 0:0" in ended.out
    assert ended.out.endswith("2,000 events accepted\n")


# --- what is refused -----------------------------------------------------------------------------


def test_bad_events_among_good_ones(intake: Receiving, to: str) -> None:
    """Each bad event is named by its line with what is wrong; the good ones around it are stored, in order."""
    lines = [
        ndjson(event(1)),
        b"\n",
        ndjson({"eventSourceId": "app"}),
        ndjson(event(4)),
        b"nonsense\n",
        ndjson(event(6, pad="x" * 1000)),
        b'{"eventSourceId":"\xff","eventType":"x"}\n',
        ndjson(event(8)),
    ]
    ended = run("send", "--to", to, stdin=b"".join(lines))
    assert (ended.code, ended.out) == (1, "3 events accepted, 4 refused\n")
    named = {line.partition(":")[0]: line for line in ended.err.splitlines()}
    assert sorted(named) == ["line 3", "line 5", "line 6", "line 7"]
    assert "422 eventType: is required" in named["line 3"]
    assert "400 " in named["line 5"] or "422 " in named["line 5"]
    assert "1,000" in named["line 6"]
    assert "UTF-8" in named["line 7"]
    assert numbers(intake) == [1, 4, 8]


def test_bad_event_of_an_array(intake: Receiving, to: str) -> None:
    """In an array a bad event is named by its number."""
    ended = run("send", "--to", to, stdin=json.dumps([event(1), 7, event(3)]).encode())
    assert ended.code == 1
    assert ended.err.startswith("event 2: 4")
    assert numbers(intake) == [1, 3]


def test_many_bad_events(intake: Receiving, to: str) -> None:
    """Twenty refusals are spelt out, the rest is counted."""
    ended = run("send", "--to", to, stdin=ndjson(*[{"n": 1}, event(2)] * 50))
    assert (ended.code, ended.out) == (1, "50 events accepted, 50 refused\n")
    assert ended.err.splitlines()[-1] == "and 30 more refused"
    assert len(ended.err.splitlines()) == 21
    assert ended.err.startswith("line 1: 422 ")


def test_refusals_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What a daemon says of an event is shown, not obeyed."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"refused":1,"status":422,"detail":"\\u001b[2J"}\n{"ack":1}\n')
        assert connection.recv(10) == b""

    with scripted(tmp_path / "s", refuse) as address:
        assert run("send", "--to", address, stdin=b"{}").err == "line 1: 422 \\u001b[2J\n"


def test_broken_array(intake: Receiving, to: str) -> None:
    """An array that is no JSON is not sent at all, and its bad place is named."""
    ended = run("send", "--to", to, stdin=b'[{"a":1},\n{"b":x}]')
    assert ended == Ended(1, "", "forwarder: the array is not JSON: line 2, column 6 (byte 15): invalid character\n")


def test_concatenated_objects(intake: Receiving, to: str) -> None:
    """Objects over several lines, one behind the other, are not guessed at; the way out is named."""
    ended = run("send", "--to", to, stdin=json.dumps(event(1), indent=1).encode() * 2)
    assert ended.code == 1
    assert "hint: give one event a line, as `jq -c` writes it, or an array\n" in ended.err
    assert numbers(intake) == []


def test_endless_line(intake: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond all limits is left out and named, what is around it is sent."""
    monkeypatch.setattr("forwarder.cli.send.MAX_LINE", 300_000)
    data = ndjson(event(1)) + b"x" * 700_000 + b"\n" + ndjson(event(3))
    ended = run("send", "--to", str(intake.stream), stdin=data)
    assert ended == Ended(1, "2 events accepted, 1 refused\n", "line 2: 413 over 300,000 bytes; it was not sent\n")
    assert numbers(intake) == [1, 3]


# --- when the daemon cannot take events ----------------------------------------------------------


def test_full_queue_over_http(intake: Receiving) -> None:
    """While the queue is full the request is sent again after Retry-After, and that is said once."""
    intake.queue.refusals = [UnavailableError("no room")] * 2
    started = time.monotonic()
    ended = run("send", "--to", f"http+{intake.http}", stdin=ndjson(event(1)))
    assert ended == Ended(0, "1 event accepted\n", "waiting: no room; trying again every 1s\n")
    assert time.monotonic() - started >= 2.0
    assert numbers(intake) == [1]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 1.0), ("7", 7.0), ("0", 1.0), ("9" * 400, 60.0), ("soon", 1.0), ("-5", 1.0), ("²", 1.0)],
)
def test_retry_after_is_not_believed_blindly(header: str | None, seconds: float) -> None:
    """Retry-After is bounded on both sides, and what is no number of seconds means a second."""
    assert seconds_of(header) == seconds


def test_full_queue_over_the_stream(intake: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is not read waits, says so, and goes on."""
    monkeypatch.setattr("forwarder.cli.over_stream._SLOW", 0.05)
    monkeypatch.setattr("forwarder.cli.over_stream._FIRST_ANSWER", 0.05)
    intake.queue.refusals = [UnavailableError("full")] * 30
    ended = run("send", "--to", str(intake.stream), stdin=ndjson(*map(event, range(2000))))
    assert (ended.code, ended.out) == (0, "2,000 events accepted\n")
    assert ended.err == "waiting: the daemon takes no more events just now: `forwarder status` says why\n"
    assert numbers(intake) == list(range(2000))


# --- when the connection does not hold -----------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "http+"])
def test_nobody_listens(tmp_path: Path, scheme: str) -> None:
    """Where nobody listens the address is named, and nothing was sent."""
    ended = run("send", "--to", f"{scheme}unix:{tmp_path}/nope", stdin=b"{}")
    assert (ended.code, ended.out) == (69, "")
    assert f"unix:{tmp_path}/nope: there is no such socket" in ended.err


def test_stream_is_lost(tmp_path: Path) -> None:
    """A stream that breaks says how many events are stored durably and which line comes next."""

    def script(connection: socket.socket) -> None:
        received = b""
        while received.count(b"\n") < 5:
            received += connection.recv(65536)
            if received.count(b"\n") == 1:
                connection.sendall(b'{"ack":1}\n')
        connection.sendall(b'{"refused":2,"status":422,"detail":"no"}\n{"refused":4,"status":422,"detail":"no"}\n')
        connection.sendall(b'{"ack":3}\n')

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"\n\n" + b"{}\n" * 5)
    assert (ended.code, ended.out) == (69, "")
    assert ended.err.splitlines()[:4] == [
        "line 4: 422 no",
        "line 6: 422 no",
        "2 events stored durably, line 6 comes next",
        f"forwarder: {address}: the connection was lost",
    ]
    assert ended.err.splitlines()[4].startswith("hint: send again from line 6 on;")


def test_stream_is_lost_while_input_is_open(tmp_path: Path) -> None:
    """A daemon that goes away is noticed also while nothing comes from the input."""
    reading, writing = os.pipe()
    os.write(writing, b"{}\n")

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b'{"ack":1}\n')

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=reading)
    os.close(writing)
    assert ended.code == 69
    assert "1 event stored durably, line 2 comes next\n" in ended.err


def test_stream_is_reset(tmp_path: Path) -> None:
    """A daemon that dies with events unread is a lost connection, never a traceback."""

    def script(connection: socket.socket) -> None:
        connection.recv(1)

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"{}\n" * 100_000)
    assert ended.code == 69
    assert ended.err.startswith(f"forwarder: {address}: the connection was lost\n")


ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


def test_http_is_lost(tmp_path: Path) -> None:
    """HTTP that breaks off between requests says how many events are stored and which line comes next."""

    def script(connection: socket.socket) -> None:
        received = b""
        while received.count(b"{}\n") < 1000:
            received += connection.recv(65536)
        connection.sendall(ACCEPTED)
        connection.recv(100)

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", f"http+{address}", stdin=b"{}\n" * 1500)
    assert ended.code == 69
    assert "1,000 events stored durably, line 1001 comes next\n" in ended.err


def test_idle_http_connection(intake: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle is not relied on: the server may be closing it."""
    monkeypatch.setattr("forwarder.cli.over_http._MAX_IDLE", 0.0)
    ended = run("send", "--to", f"http+{intake.http}", stdin=ndjson(*map(event, range(2500))))
    assert ended.out == "2,500 events accepted\n"


@pytest.mark.parametrize("answer", [b'{"ack":7}\n', b"hello\n", b'{"ack":"x"}\n', b"[]\n", b"{}\n", b"x" * 2_000_000])
def test_something_else_answers(tmp_path: Path, answer: bytes) -> None:
    """An address at which something else answers is said to be the wrong one."""

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        try:
            connection.sendall(answer)
        except OSError:
            assert len(answer) > 1_000_000

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", address, stdin=b"{}\n")
    assert ended.code == 69
    assert "is not a stream socket of a forwarder" in ended.err


def test_refused_by_http(tmp_path: Path) -> None:
    """An answer that is about no event ends the command with the daemon's words."""

    def script(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"{}\n"):
            request += connection.recv(1000)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with scripted(tmp_path / "s", script) as address:
        ended = run("send", "--to", f"http+{address}", stdin=b"{}\n")
    assert (ended.code, ended.err) == (1, f"forwarder: {address} answered 404: without a word\n")


# --- where it goes -------------------------------------------------------------------------------


def test_default_is_the_stream(intake: Receiving, tmp_path: Path) -> None:
    """Without --to the first stream address of the configuration is used, else the first of HTTP."""
    file = config(tmp_path, intake)
    assert run("send", "-c", file, stdin=ndjson(event(1))).code == 0
    assert intake.queue.appends == [1]
    Path(file).write_text(Path(file).read_text().replace(f"'{intake.stream}'", ""))
    assert run("send", "-c", file, stdin=ndjson(event(2))).code == 0
    assert numbers(intake) == [1, 2]


def test_configured_http_address(intake: Receiving, tmp_path: Path) -> None:
    """An address that the configuration lists under HTTP is spoken to in HTTP."""
    ended = run("send", "-c", config(tmp_path, intake), "--to", str(intake.http), stdin=ndjson(*[event(1)] * 1500))
    assert ended.code == 0
    assert intake.queue.appends == [1000, 500]


@pytest.mark.parametrize("tcp", [False, True])
def test_http_is_recognised(tmp_path: Path, tcp: bool) -> None:
    """Where HTTP answers at an address that nobody said was HTTP, everything is sent again, in order, once."""
    with receiving(tmp_path, tcp=tcp) as intake:
        ended = run("send", "--to", str(intake.http), stdin=ndjson(*map(event, range(3000))))
        assert ended == Ended(0, "3,000 events accepted\n", "")
        assert numbers(intake) == list(range(3000))


def test_over_tcp(tmp_path: Path) -> None:
    """Both ways in work over TCP."""
    with receiving(tmp_path, tcp=True) as intake:
        assert run("send", "--to", str(intake.stream), stdin=ndjson(event(1))).code == 0
        assert run("send", "--to", f"http://127.0.0.1:{intake.http.port}/", stdin=ndjson(event(2))).code == 0
        assert numbers(intake) == [1, 2]


@pytest.mark.parametrize("way", ["tcp stream", "http"])
def test_token(tmp_path: Path, way: str) -> None:
    """The token of the configuration, or of --token-file, is sent; without it the daemon's refusal is shown."""
    token = token_file(tmp_path)
    with receiving(tmp_path, token="s3cret", tcp=way == "tcp stream") as intake:
        to = str(intake.stream) if way == "tcp stream" else f"http+{intake.http}"
        ended = run("send", "--to", to, stdin=ndjson(event(0)))
        assert ended.code == 1
        assert "token is required" in ended.err
        assert "hint: give the token: --token-file FILE\n" in ended.err
        data = ndjson(*map(event, range(3)))
        assert run("send", "--to", to, "--token-file", str(token), stdin=data).out == "3 events accepted\n"
        file = config(tmp_path, intake, extra=f"  token_file: {token}\n")
        assert run("send", "--to", to, "-c", file, stdin=data).out == "3 events accepted\n"
        assert numbers(intake) == [0, 1, 2] * 2


def test_unix_stream_wants_no_token(tmp_path: Path) -> None:
    """Whoever may open the stream's unix socket sends without being able to read the token."""
    with receiving(tmp_path, token="s3cret") as intake:
        file = config(tmp_path, intake, extra="  token_file: /nowhere/token\n")
        assert run("send", "-c", file, stdin=ndjson(event(0))).code == 0
        token = str(token_file(tmp_path))
        assert run("send", "--to", str(intake.stream), "--token-file", token, stdin=ndjson(event(1))).code == 0
        assert numbers(intake) == [0, 1]


def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    "to", ["https://h:1", "http://h:1/v1/events", "http://u@h:1", "http://[::1", "http://:1", "nope", "http+unix:x"]
)
def test_bad_address(to: str) -> None:
    """An address that is none is a usage error."""
    ended = run("send", "--to", to, stdin=b"{}")
    assert (ended.code, "--to: " in ended.err) == (2, True)


def test_http_url_without_port_and_ipv6() -> None:
    """A URL may leave out the port, and may name an IPv6 address."""
    from forwarder.cli.send import parse_target

    assert parse_target("http://localhost") == (Address(host="localhost", port=80), True)
    assert parse_target("http://[::1]:7710/") == (Address(host="::1", port=7710), True)


def test_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    ended = run("send", str(tmp_path / "nope"), "--to", "unix:/nowhere")
    assert ended == Ended(74, "", f"forwarder: {tmp_path}/nope: No such file or directory\n")
    ended = run("send", str(tmp_path), "--to", "unix:/nowhere")
    assert ended == Ended(74, "", f"forwarder: {tmp_path}: Is a directory\nhint: name a file with events\n")


def test_lots() -> None:
    """A request holds at most a thousand events and four megabytes; a larger event goes alone."""
    chunk = Chunk(b"{}\n" * 2500, 2500, 1)
    assert [(lot.numbers[0], len(lot.numbers)) for lot in lots(chunk)] == [(1, 1000), (1001, 1000), (2001, 500)]
    large = b"x" * 3_000_000 + b"\n"
    assert [lot.numbers for lot in lots(Chunk(large * 2 + b"{}\n", 3, 5))] == [[5], [6, 7]]
