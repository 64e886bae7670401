"""The kinds of values that name something on this machine: files, their modes and groups, listen addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forwarder.config.addresses import check_path, expand, parse_address
from forwarder.config.document import Node, Scalar
from forwarder.config.mistakes import SettingError, quoted
from forwarder.config.values import Leaf
from forwarder.model import Address

_GROUP = "[A-Za-z_][A-Za-z0-9_.-]{0,254}[$]?"
# A path with a folder in it, which may come from a variable, or a name with an ending. Few tokens begin with a slash.
_is_path = re.compile(
    r"(?:[.]{0,2}|~|[$][{][A-Za-z_][A-Za-z0-9_]*[}])/[^\n]*|[$][{][A-Za-z_][A-Za-z0-9_]*[}]|[\w.-]{1,64}[.][a-z]{1,5}"
).fullmatch


@dataclass(frozen=True, kw_only=True)
class FileMode(Leaf[int]):
    """The permissions of a socket, in octal.

    Without quotes, YAML 1.1 takes 0660 for octal and 660 for decimal; only the first says what is meant.
    """

    wants = "a file mode"
    takes = frozenset({"str", "int"})
    advice = 'Write four octal digits in quotes, such as "0660".'
    example: str = '"0660"'
    pattern = "^(0o?)?[0-7]{3}$"

    def read(self, node: Node, environ: Mapping[str, str]) -> int:
        if isinstance(node, Scalar) and node.type == "int" and not node.text.startswith("0"):
            problem = f"{quoted(node.text)} without quotes is a decimal number in YAML, not a file mode"
            raise SettingError(problem, self.advice)
        return super().read(node, environ)

    def parse(self, text: str, environ: Mapping[str, str]) -> int:
        if not re.fullmatch(self.pattern, text):
            raise SettingError(f"{quoted(text)} is not a file mode", self.advice)
        mode = int(text[-3:], 8)
        if not mode & 0o222:
            raise SettingError(f"with {quoted(text)} nobody could connect", 'Allow somebody to write, such as "0660".')
        return mode

    def show(self, value: int) -> str:
        return f"{value:04o}"


class GroupName(Leaf[str]):
    """A group of this machine, by name or by number."""

    wants = "the name of a group"
    takes = frozenset({"str", "int"})
    example = "forwarder"

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        # What groupadd(8) allows, and numbers that stand for a group (-1 stands for none).
        if re.fullmatch(_GROUP, text) or (re.fullmatch("0|[1-9][0-9]{0,9}", text) and int(text) < 2**32 - 1):
            return text
        raise SettingError(f"{quoted(text)} is not the name of a group", f"Write it like {self.example}.")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": f"^({_GROUP}|[0-9]+)$"}, {"type": "integer", "minimum": 0}]}


@dataclass(frozen=True, kw_only=True)
class FilePath(Leaf[Path]):
    """The path of a file; `${NAME}` is replaced from the environment."""

    wants = "the path of a file"
    example: str = "/etc/forwarder/token"
    absolute: bool = False
    max_path: int = 4095
    """The longest path, in bytes, and the longest last name: less where other files get names beside it."""
    max_name: int = 255

    def parse(self, text: str, environ: Mapping[str, str]) -> Path:
        path = check_path(expand(text, environ), absolute=self.absolute)
        for what, name, limit in (
            ("path", path, self.max_path),
            ("name of the file", os.path.basename(path), self.max_name),  # noqa: PTH119
        ):
            size = len(os.fsencode(name))
            if size > limit:
                raise SettingError(f"the {what} has {size} bytes, and {limit} are possible", "Choose a shorter one.")
        return Path(path)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(/|\$\{)" if self.absolute else "^[^~]"}


@dataclass(frozen=True, kw_only=True)
class SecretPath(FilePath):
    """The path of a file with a secret. The secret itself, put here by mistake, is refused and not repeated."""

    secret = True

    def parse(self, text: str, environ: Mapping[str, str]) -> Path:
        # What comes from a variable may be the secret as well.
        if text and not (_is_path(text) and _is_path(expand(text, environ))):
            raise SettingError(
                "does not look like the path of a file; it is not shown, as it may be the secret itself",
                f"Write the secret into a file, and here its path, such as {self.example}.",
            )
        return super().parse(text, environ)


class ListenAddress(Leaf[Address]):
    """An address to listen at; `${NAME}` is replaced from the environment."""

    wants = "an address"
    example = "unix:/run/forwarder/http.sock"
    pattern = r"^(unix:(/|\$\{)|tcp:.+:(0|[1-9][0-9]{0,4})$)"

    def parse(self, text: str, environ: Mapping[str, str]) -> Address:
        return parse_address(expand(text, environ))
