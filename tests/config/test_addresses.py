"""Listen addresses, URLs and paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.addresses import check_path, expand, parse_address, split_url
from forwarder.config.mistakes import SettingError
from forwarder.model import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/forwarder/http.sock", Address(path="/run/forwarder/http.sock")),
        ("unix:/" + "x" * 106, Address(path="/" + "x" * 106)),
        ("tcp:127.0.0.1:7710", Address(host="127.0.0.1", port=7710)),
        ("tcp:0.0.0.0:0", Address(host="0.0.0.0", port=0)),
        ("tcp:localhost:65535", Address(host="localhost", port=65535)),
        ("tcp:LocalHost:1", Address(host="localhost", port=1)),
        ("tcp:[::1]:7710", Address(host="::1", port=7710)),
        ("tcp:[0:0:0:0:0:0:0:1]:7710", Address(host="::1", port=7710)),
        ("tcp:events-1.example:80", Address(host="events-1.example", port=80)),
    ],
)
def test_address_is_a_socket_or_a_host_and_port(text: str, address: Address) -> None:
    """An address names a unix socket or a TCP port; host names and IPv6 are brought into one form."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Write unix:/absolute/path or tcp:HOST:PORT"),
        ("unix:", "is empty. Write the path"),
        ("unix:run/http.sock", "is a relative path. Write an absolute path"),
        ("unix:@abstract", "is a relative path"),
        ("unix:~/http.sock", "Write ${HOME}"),
        ("unix:/" + "x" * 107, "has 108 bytes, and Linux allows 107. Choose a shorter path"),
        ("unix:/" + "ä" * 54, "has 109 bytes"),
        ("/run/http.sock", "Write unix:/run/http.sock"),
        ("127.0.0.1:7710", "Write tcp:127.0.0.1:7710"),
        ("[::1]:7710", "Write tcp:[::1]:7710"),
        ("http://127.0.0.1:7710", "Write unix:/absolute/path or tcp:HOST:PORT"),
        ("tcp:7710", "is not tcp:HOST:PORT"),
        ("tcp::7710", "the host is missing. Write tcp:127.0.0.1:PORT"),
        ("tcp:*:7710", "tcp:0.0.0.0:PORT for every network"),
        ("tcp:127.0.0.1:", "is not tcp:HOST:PORT"),
        ("tcp:127.0.0.1:65536", "65536 is not a port. Ports go from 0"),
        ("tcp:127.0.0.1:-1", "is not tcp:HOST:PORT"),
        ("tcp:::1:7710", "Write IPv6 addresses in brackets: tcp:[::1]:7710"),
        ("tcp:[::z]:7710", "`::z` is not an IPv6 address"),
        ("tcp:[127.0.0.1]:7710", "is not an IPv6 address"),
        ("tcp:127.1:7710", "is neither an IPv4 address nor a host name"),
        ("tcp:127.0.0.256:7710", "is neither an IPv4 address nor a host name"),
        ("tcp:127.example.com:7710", "is neither an IPv4 address nor a host name"),
        ("tcp:a b:7710", "is neither an IPv4 address nor a host name"),
    ],
)
def test_what_is_no_address_is_refused_with_one_that_would_be_right(text: str, words: str) -> None:
    """Each way to miss the form leads to the form."""
    with pytest.raises(SettingError) as caught:
        parse_address(text)
    assert words in str(caught.value)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_reads_back_from_its_text(host: object, port: int) -> None:
    """What an address is shown as is read as the same address."""
    address = parse_address(str(Address(host=str(host), port=port)))
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_a_mistake(text: str) -> None:
    """No text makes the reading of addresses fail in another way."""
    for prefix in ("", "tcp:", "unix:/"):
        try:
            address = parse_address(prefix + text)
        except SettingError:
            continue
        assert parse_address(str(address)) == address


def test_variables_in_a_path_are_replaced_once() -> None:
    """`${NAME}` becomes the variable's value, which is not looked into again; other dollars stay."""
    environ = {"A": "/one", "B": "${A}"}
    assert expand("${A}/x/${A}", environ) == "/one/x//one"
    assert expand("${B}/key$1.pem", environ) == "${A}/key$1.pem"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${KEYS}/key.pem", "the environment variable KEYS is not set. Set KEYS for this process"),
        ("${EMPTY}/key.pem", "the environment variable EMPTY is empty"),
        ("${}/key.pem", "`${}` names no variable. Write ${NAME}"),
        ("${KEYS", "`${KEYS` names no variable"),
        ("${a-b}/key.pem", "`${a-b}` names no variable"),
    ],
)
def test_a_variable_that_is_not_there_is_refused(text: str, words: str) -> None:
    """A path is never put together with an unset or empty variable."""
    with pytest.raises(SettingError) as caught:
        expand(text, {"EMPTY": ""})
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "~/key.pem", "a\0b", "a\nb"])
def test_what_cannot_be_a_path_is_refused(text: str) -> None:
    """Empty paths, a shell's ~ and control characters are refused."""
    with pytest.raises(SettingError):
        check_path(text, absolute=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("example.com/put", "does not begin with https:// or http://"),
        ("localhost:8080/put", "does not begin with https://"),
        ("ftp://example.com/put", "does not begin with https://"),
        ("https:///put", "has no host"),
        ("https:/example.com/put", "has no host"),
        ("https://:443/put", "has no host"),
        ("https://[::1/put", "is not a URL"),
        ("https://example.com:99999/put", "is not a URL"),
        ("https://example.com:0/put", "0 is not a port"),
        ("https://example.com/put#", "has a fragment"),
        ("https://example.com/put#x", "has a fragment"),
        ("https://example.com/a b", "white space"),
        ("https://example.com/\n", "white space or a control character"),
        ("", "does not begin with"),
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str, words: str) -> None:
    """A URL needs http or https, a host and no fragment; messages do not repeat what may hold a password."""
    with pytest.raises(SettingError) as caught:
        split_url(url, example="https://host.example/put")
    assert words in caught.value.problem
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("example.com", False), ("", False)]
)
def test_loopback_hosts_are_this_machine(host: str, loopback: bool) -> None:
    """Only names and addresses of this machine count as loopback."""
    assert Address(host=host).is_loopback is loopback
