"""`forwarder send`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forwarder.model import Address
from tests.cli.console import Ended, run
from tests.cli.intake import Receiving, event, ndjson, numbers, receiving
from tests.cli.settings import secret_file


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


# --- when the connection does not hold -----------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "http+"])
def test_nobody_listens(tmp_path: Path, scheme: str) -> None:
    """Where nobody listens the address is named, and nothing was sent."""
    ended = run("send", "--to", f"{scheme}unix:{tmp_path}/nope", stdin=b"{}")
    assert (ended.code, ended.out) == (69, "")
    assert f"unix:{tmp_path}/nope: there is no such socket" in ended.err


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
    token = secret_file(tmp_path, "s3cret\n")
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
        token = str(secret_file(tmp_path, "s3cret\n"))
        assert run("send", "--to", str(intake.stream), "--token-file", token, stdin=ndjson(event(1))).code == 0
        assert numbers(intake) == [0, 1]


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
