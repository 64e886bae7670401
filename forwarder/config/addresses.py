"""Places on the network and in the file system: listen addresses, URLs, paths.

Each function takes what the operator wrote and returns it checked, or raises SettingError.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from forwarder.config.mistakes import SettingError, quoted
from forwarder.model import Address

# sockaddr_un.sun_path has 108 bytes, and the last is the terminating zero (unix(7)).
MAX_UNIX_PATH = 107

_FORMS = "Write unix:/absolute/path or tcp:HOST:PORT, such as tcp:127.0.0.1:7710."
_variable = re.compile(r"\$\{([^}]*)\}?")
_name = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_host_name = re.compile(r"(?![0-9]+(\.|$))[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `${NAME}` by that variable of the environment; unset and empty ones are refused."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not match[0].endswith("}") or not _name.fullmatch(name):
            raise SettingError(f"{quoted(match[0])} names no variable", "Write ${NAME} for a variable.")
        if not environ.get(name):
            state = "empty" if name in environ else "not set"
            raise SettingError(
                f"the environment variable {name} is {state}",
                f"Set {name} for this process, or write the path without ${{{name}}}.",
            )
        return environ[name]

    return _variable.sub(value, text)


def check_path(text: str, *, absolute: bool) -> str:
    """Return `text` if it can be the path of a file."""
    if not text:
        raise SettingError("is empty", "Write the path of a file.")
    if "\0" in text or "\n" in text:
        raise SettingError("the path contains a control character", "Write the path of a file on one line.")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        # A lone surrogate, which YAML can write as "\ud800". Those that stand for a byte of a variable are fine.
        problem = f"{quoted(text)} contains a character that no path can have"
        raise SettingError(problem, "Write the path of a file.") from None
    if text.startswith("~"):
        raise SettingError(f"{quoted(text)} begins with ~, which only shells know", "Write ${HOME} in its place.")
    if absolute and not text.startswith("/"):
        raise SettingError(f"{quoted(text)} is a relative path", "Write an absolute path: one that begins with /.")
    return text


def parse_address(text: str) -> Address:
    """Return the address that `unix:/absolute/path` or `tcp:HOST:PORT` stands for; IPv6 hosts in brackets."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        return _unix(rest)
    if scheme == "tcp":
        return _tcp(text, rest)
    if text.startswith("/"):
        raise SettingError(f"{quoted(text)} has no unix: in front", f"Write unix:{text}.")
    if re.fullmatch(r"(\[.*\]|[^:/]+):[0-9]+", text):
        raise SettingError(f"{quoted(text)} has no tcp: in front", f"Write tcp:{text}.")
    raise SettingError(f"{quoted(text)} is not an address", _FORMS)


def _unix(path: str) -> Address:
    check_path(path, absolute=True)
    length = len(os.fsencode(path))
    if length > MAX_UNIX_PATH:
        raise SettingError(
            f"the socket path has {length} bytes, and Linux allows {MAX_UNIX_PATH}", "Choose a shorter path."
        )
    return Address(path=path)


def _tcp(text: str, rest: str) -> Address:
    match = re.fullmatch(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>0|[1-9][0-9]{0,4})", rest)
    if match is None:
        hint = "Write IPv6 addresses in brackets: tcp:[::1]:7710." if rest.count(":") > 1 else _FORMS
        raise SettingError(f"{quoted(text)} is not tcp:HOST:PORT", hint)
    port = int(match["port"])
    if port > 65535:
        raise SettingError(f"{port} is not a port", "Ports go from 0 (any that is free) to 65535.")
    return Address(host=_ipv6(match["six"]) if match["six"] is not None else _host(match["host"]), port=port)


def _ipv6(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise SettingError(f"{quoted(host)} is not an IPv6 address", "Write one such as tcp:[::1]:7710.") from None


def _host(host: str) -> str:
    if host in {"", "*"}:
        raise SettingError(
            "the host is missing", "Write tcp:127.0.0.1:PORT for this machine only, tcp:0.0.0.0:PORT for every network."
        )
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        # A name that begins like an IPv4 address (127.example) must not pass for a loopback address.
        if _host_name.fullmatch(host):
            return host.lower()
        raise SettingError(f"{quoted(host)} is neither an IPv4 address nor a host name", _FORMS) from None


def split_url(text: str, *, example: str) -> SplitResult:
    """Return the parts of an http or https URL with a host and no fragment.

    Messages do not repeat the URL: it may hold a password.
    """
    if not text.isprintable() or " " in text:
        raise SettingError("the URL contains white space or a control character", f"Write it like {example}.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingError("is not a URL: the host or the port is wrong", f"Write it like {example}.") from None
    if parts.scheme not in {"http", "https"}:
        raise SettingError("the URL does not begin with https:// or http://", f"Write it like {example}.")
    if not parts.hostname:
        raise SettingError("the URL has no host", f"Write it like {example}.")
    if port == 0:
        raise SettingError("0 is not a port to connect to", "Ports go from 1 to 65535.")
    if "#" in text:
        raise SettingError("the URL has a fragment (#…), which is never sent", "Leave out the # and what follows it.")
    return parts
