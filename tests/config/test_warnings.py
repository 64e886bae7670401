"""What is allowed and yet probably not meant."""

from __future__ import annotations

import pytest

from forwarder.config import warnings
from tests.config.conftest import DESTINATION, Load


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://example.com/put", True),
        ("http://127.example.com/put", True),
        ("https://example.com/put", False),
        ("http://localhost:8080/put", False),
        ("http://127.0.0.1/put", False),
        ("http://[::1]:8080/put", False),
    ],
)
def test_plain_http_to_another_machine_is_warned_of(accept: Load, url: str, warned: bool) -> None:
    """Events that leave the machine unencrypted are allowed, with a warning that names the setting."""
    found = warnings(accept(DESTINATION.replace("https://example.com/put", url)))
    assert [w.startswith("destinations.main.url: ") and "use https" in w for w in found] == [True] * warned


def test_tls_settings_without_tls_are_warned_of(accept: Load) -> None:
    """Settings of TLS do nothing for a plain http URL."""
    text = DESTINATION.replace("https://example.com", "http://localhost") + "    tls: {ca_file: /ca.pem}\n"
    (warning,) = warnings(accept(text))
    assert warning.startswith("destinations.main.tls has no effect")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ingest: {http: {listen: 'tcp:127.0.0.1:7710'}}", ["ingest.http.listen[0], tcp:127.0.0.1:7710: every user"]),
        ("ingest: {stream: {listen: [unix:/a, 'tcp:localhost:1']}}", ["ingest.stream.listen[1], tcp:localhost:1: e"]),
        ("admin: {listen: ['tcp:[::1]:7711']}", ["admin.listen[0], tcp:[::1]:7711: every user"]),
        ("ingest: {http: {listen: 'tcp:127.0.0.1:7710'}, token_file: /t}", []),
        ("admin: {listen: ['tcp:[::1]:7711'], token_file: /t}", []),
        ("ingest: {socket_mode: '0666'}", ["ingest.socket_mode: every user"]),
        ("admin: {socket_mode: '0666'}", ["admin.socket_mode: every user"]),
        ("admin: {socket_mode: '0666', allow_uids: [1000]}", []),
        ("admin: {socket_mode: '0666', listen: []}", []),
        ("admin: {socket_mode: '0660', socket_group: operators}", []),
    ],
)
def test_doors_that_let_everybody_in_are_warned_of(accept: Load, text: str, words: list[str]) -> None:
    """Whoever gets in past mode, group and user ids is named, with the address and what would be right."""
    sentences = warnings(accept(f"{text}\n{DESTINATION}"))
    assert [found[: len(begin)] for found, begin in zip(sentences, words, strict=True)] == words
    for found in sentences:
        section = found.partition(".")[0]
        assert f"set {section}." in found or "listen at" in found
        assert ("send" in found) == (section == "ingest")
