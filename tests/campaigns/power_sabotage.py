"""Start the forwarder with a weaker `synchronous`: `python -m tests.campaigns.power_sabotage LEVEL run …`.

What such a queue accepts is not on disk yet; a campaign that does not find that loses nothing cannot find
anything.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

from forwarder.__main__ import main

_connect = sqlite3.connect


def weaken(level: str) -> None:
    """From now on, let every connection that asks for some `synchronous` have this one."""

    class Weak(sqlite3.Connection):
        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            return super().execute(f"PRAGMA synchronous = {level}" if _is_synchronous(sql) else sql, *more)

    def connect(*words: Any, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = _connect(*words, **{**settings, "factory": Weak})
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]


def _is_synchronous(sql: str) -> bool:
    return "".join(sql.lower().split()).startswith("pragmasynchronous=")


if __name__ == "__main__":
    weaken(sys.argv.pop(1))
    main()
