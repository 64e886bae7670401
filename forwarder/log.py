"""Logs: one line a unit of work, for people on a terminal, as JSON elsewhere.

Never an event's content, a token or a JWS: so a traceback shows the code, and no values.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog


class _Lossy:
    """A stream that drops a line which cannot be written, and tells how many it were as soon as one can be.

    The log may stand on the disk that is full, or its reader may be gone: events go on all the same.
    """

    def __init__(self, out: TextIO, tell: Callable[[int], str]) -> None:
        self._out = out
        self._tell = tell
        self._lost = 0

    def write(self, line: str) -> None:
        """Write one line."""
        try:
            if self._lost:
                # Of the first one that was lost, a part may stand there.
                self._put("\n" + self._tell(self._lost))
                self._lost = 0
            self._put(line)
        except OSError:
            self._lost += 1

    def flush(self) -> None:
        """Do nothing: a line is where it goes, or lost."""

    def _put(self, line: str) -> None:
        # Past the stream's own buffer: what cannot be written would stay in it, in the way of the next line.
        if isinstance(self._out, io.StringIO):
            self._out.write(line)
            return
        data = line.encode(self._out.encoding, "backslashreplace")
        while data:
            data = data[os.write(self._out.fileno(), data) :]


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Set up logging to `stream` (standard error). `format`: console, json, or auto: by whether it is a terminal."""
    out = stream if stream is not None else sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not out.isatty())
    first: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last = _json() if as_json else _console(colors=out.isatty())
    safe = _Lossy(out, _lines_lost(as_json=as_json))
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", safe)),
        cache_logger_on_first_use=False,
    )
    # What libraries say (asyncio's complaints about a slow callback, aiohttp's about a peer).
    handler = logging.StreamHandler(safe)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *first],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)


def _lines_lost(*, as_json: bool) -> Callable[[int], str]:
    """Return how it is told that lines could not be written."""
    if as_json:
        return lambda lines: json.dumps({"event": "log.lines_lost", "level": "warning", "lines": lines}) + "\n"
    return "log.lines_lost lines={}\n".format


def _json() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _console(*, colors: bool) -> list[Any]:
    # The default formatter of tracebacks shows local variables: events and tokens among them.
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
