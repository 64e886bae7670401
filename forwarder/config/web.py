"""The kinds of values that HTTP brings along: URLs, headers, statuses and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from forwarder.config.addresses import split_url
from forwarder.config.document import Node
from forwarder.config.kinds import MASK, Leaf, OneOf
from forwarder.config.mistakes import SettingError, quoted
from forwarder.model import Outcome

# RFC 9110, section 5.6.2.
_FIELD_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"


@dataclass(frozen=True, kw_only=True)
class Url(Leaf[str]):
    """The http or https URL of a destination. It carries no password: headers do."""

    wants = "a URL"
    example: str = "https://example.event.10duke.com/put"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if "@" in split_url(text, example=self.example).netloc:
            raise SettingError(
                "the URL contains a user or a password", "Leave them out, and set an Authorization header in `headers`."
            )
        return text

    def show(self, value: str) -> str:
        # Some take a key in the query.
        return re.sub(r"(?<==)[^&]+", MASK, value) if "?" in value else value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^https?://[^/?#@ ]+([/?][^# ]*)?$"}


@dataclass(frozen=True, kw_only=True)
class ProxyUrl(Leaf[str]):
    """The http or https URL of a proxy, with a user and a password where it wants them."""

    wants = "a URL"
    secret = True
    example: str = "http://proxy.example:3128"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        parts = split_url(text, example=self.example)
        if parts.path not in {"", "/"} or parts.query:
            raise SettingError("the URL of a proxy has no path", f"Write it like {self.example}.")
        return text

    def show(self, value: str) -> str:
        # The user is masked as well: where there is no password, it may be a token. Its name may hold an @, too.
        parts = urlsplit(value)
        _user, at, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{MASK}{at}{host}" if at else host).geturl()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^https?://[^/?# ]+/?$"}


@dataclass(frozen=True, kw_only=True)
class HeaderName(Leaf[str]):
    """The name of an HTTP field (RFC 9110, section 5.1) that the forwarder does not set itself."""

    wants = "the name of a header"
    example: str = "X-Tenant"
    _own: ClassVar[tuple[str, ...]] = ("content-type", "content-length", "host", "transfer-encoding")

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if not re.fullmatch(_FIELD_NAME, text):
            raise SettingError(
                "the name of the header contains a character that RFC 9110 does not allow",
                f"Use letters, digits and hyphens, such as {self.example}.",
            )
        if text.lower() in self._own:
            raise SettingError("the forwarder sets this header itself", "Leave it out.")
        return text

    def schema(self) -> dict[str, Any]:
        names = "|".join("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in name) for name in self._own)
        return {"type": "string", "pattern": _FIELD_NAME, "not": {"pattern": f"^({names})$"}}


@dataclass(frozen=True, kw_only=True)
class HeaderValue(Leaf[str]):
    """The value of an HTTP field (RFC 9110, section 5.5), in printable ASCII; it may be a secret."""

    wants = "text in quotes"
    secret = True
    example: str = '"a value"'

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
            raise SettingError(
                "the value of the header is empty, begins or ends with a blank, or contains a line break, "
                "a control character or a letter outside ASCII",
                "Write printable ASCII characters on one line.",
            )
        return text

    def show(self, value: str) -> str:
        return MASK

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$"}


@dataclass(frozen=True, kw_only=True)
class Status(Leaf[int]):
    """An HTTP status, in quotes or without."""

    wants = "an HTTP status"
    example: str = "403"

    def parse(self, text: str, environ: Mapping[str, str]) -> int:
        if not re.fullmatch("[1-5][0-9][0-9]", text):
            raise SettingError(
                f"{quoted(text)} is not an HTTP status", "Write a number from 100 to 599, one line for each."
            )
        return int(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[1-5][0-9][0-9]$"}


@dataclass(frozen=True, kw_only=True)
class OutcomeWord(Leaf[Outcome]):
    """What an answer of the destination means."""

    wants = "an outcome"
    _words: ClassVar[OneOf] = OneOf(choices=("deferred", "rejected", "held", "too_large", "delivered"))
    example: str = "deferred"

    def parse(self, text: str, environ: Mapping[str, str]) -> Outcome:
        return Outcome(self._words.parse(text, environ))

    def show(self, value: Outcome) -> str:
        return value.value

    def schema(self) -> dict[str, Any]:
        return self._words.schema()

    def _remedy(self, node: Node) -> str:
        return f"Write one of {', '.join(self._words.choices)}."
