"""The kinds of values that HTTP has: URLs, headers, statuses and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from forwarder.config.addresses import split_url
from forwarder.config.mistakes import SettingError, quoted
from forwarder.config.values import MASK, Leaf, OneOf
from forwarder.model import Outcome


class Url(Leaf[str]):
    """The http or https URL of a destination. It carries no password: headers do."""

    wants = "a URL"
    example = "https://example.event.10duke.com/put"
    pattern = "^https?://[^/?#@ ]+([/?][^# ]*)?$"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if "@" in split_url(text, example=self.example).netloc:
            raise SettingError(
                "the URL contains a user or a password", "Leave them out, and set an Authorization header in `headers`."
            )
        return text

    def show(self, value: str) -> str:
        # Some take a key in the query.
        return re.sub(r"(?<==)[^&]+", MASK, value) if "?" in value else value


class CollectorUrl(Url):
    """The http or https URL of an OpenTelemetry collector, without the paths of its signals."""

    example = "http://127.0.0.1:4318"
    pattern = "^https?://[^/?#@ ]+(/[^?# ]*)?$"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if split_url(super().parse(text, environ), example=self.example).query:
            raise SettingError("the URL of a collector has no query", f"Write it like {self.example}.")
        return text


class ProxyUrl(Leaf[str]):
    """The http or https URL of a proxy, with a user and a password where it wants them."""

    wants = "a URL"
    secret = True
    example = "http://proxy.example:3128"
    pattern = "^https?://[^/?# ]+/?$"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        parts = split_url(text, example=self.example)
        if parts.path not in {"", "/"} or parts.query:
            raise SettingError("the URL of a proxy has no path", f"Write it like {self.example}.")
        return text

    def show(self, value: str) -> str:
        # The user is masked as well, since without a password it may be a token. It may contain an @.
        parts = urlsplit(value)
        _user, at, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{MASK}{at}{host}" if at else host).geturl()


class HeaderName(Leaf[str]):
    """The name of an HTTP field that the forwarder does not set itself (RFC 9110, sections 5.1 and 5.6.2)."""

    wants = "the name of a header"
    example = "X-Tenant"
    pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
    _own: ClassVar[tuple[str, ...]] = ("content-type", "content-length", "host", "transfer-encoding")

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if not re.fullmatch(self.pattern, text):
            raise SettingError(
                "the name of the header contains a character that RFC 9110 does not allow",
                f"Use letters, digits and hyphens, such as {self.example}.",
            )
        if text.lower() in self._own:
            raise SettingError("the forwarder sets this header itself", "Leave it out.")
        return text

    def schema(self) -> dict[str, Any]:
        names = "|".join("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in name) for name in self._own)
        return super().schema() | {"not": {"pattern": f"^({names})$"}}


class HeaderValue(Leaf[str]):
    """The value of an HTTP field (RFC 9110, section 5.5), in printable ASCII; it may be a secret."""

    wants = "text in quotes"
    secret = True
    example = '"a value"'
    pattern = "^[!-~]([ -~]*[!-~])?$"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if not re.fullmatch(self.pattern, text):
            raise SettingError(
                "the value of the header is empty, begins or ends with a blank, or contains a line break, "
                "a control character or a letter outside ASCII",
                "Write printable ASCII characters on one line.",
            )
        return text

    def show(self, value: str) -> str:
        return MASK


class Status(Leaf[int]):
    """An HTTP status, in quotes or without."""

    wants = "an HTTP status"
    example = "403"
    pattern = "^[1-5][0-9][0-9]$"

    def parse(self, text: str, environ: Mapping[str, str]) -> int:
        if not re.fullmatch(self.pattern, text):
            raise SettingError(
                f"{quoted(text)} is not an HTTP status", "Write a number from 100 to 599, one line for each."
            )
        return int(text)


@dataclass(frozen=True, kw_only=True)
class OutcomeWord(OneOf):
    """What an answer of the destination means."""

    wants = "an outcome"
    choices: tuple[str, ...] = ("deferred", "rejected", "held", "too_large", "delivered")

    def parse(self, text: str, environ: Mapping[str, str]) -> Outcome:
        return Outcome(super().parse(text, environ))

    def show(self, value: Outcome) -> str:
        return value.value
