"""Start the forwarder with a weaker `synchronous`: `python -m tests.campaigns.power.sabotage LEVEL run …`.

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

    def connect(*words: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **settings: Any) -> Any:
        class Weak(factory):  # type: ignore[valid-type, misc]
            def execute(self, sql: Any, *more: Any) -> Any:
                return super().execute(f"PRAGMA synchronous = {level}" if _is_synchronous(sql) else sql, *more)

        return _connect(*words, **settings, factory=Weak)

    sqlite3.connect = connect


def _is_synchronous(sql: Any) -> bool:
    return isinstance(sql, str) and "".join(sql.lower().split()).startswith("pragmasynchronous=")


if __name__ == "__main__":
    weaken(sys.argv.pop(1))
    main()
