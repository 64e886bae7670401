"""Set up the log: one line for each unit of work, readable on a terminal, as JSON elsewhere.

The content of an event, a token or a JWS is never logged. So tracebacks show code, but no values.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog

from forwarder.lossy import LossyStream


def configure(level: str, format: str, stream: TextIO | LossyStream | None = None) -> None:  # noqa: A002 - the setting's name
    """Set up logging to `stream` (standard error). `format` is console, json, or auto: console on a terminal.

    The daemon makes standard error a LossyStream before this, so that writing a line never blocks it.
    """
    out = stream if stream is not None else sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not out.isatty())
    first: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last = _json() if as_json else _console(colors=out.isatty())
    if isinstance(out, LossyStream):
        out.words = _lines_lost(as_json=as_json)
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    # Messages of libraries (asyncio's about slow callbacks, aiohttp's about peers) get the same form.
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *first],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)


def _lines_lost(*, as_json: bool) -> Callable[[int], str]:
    """Return a function that makes the line saying how many lines could not be written."""
    if as_json:
        return lambda lines: json.dumps({"event": "log.lines_lost", "level": "warning", "lines": lines}) + "\n"
    return "log.lines_lost lines={}\n".format


def _json() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _console(*, colors: bool) -> list[Any]:
    # The default formatter of tracebacks would show local variables, which may be events or tokens.
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
