"""Logs: one line a unit of work, for people on a terminal, as JSON elsewhere.

Never an event's content, a token or a JWS.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Set up logging to `stream` (standard error). `format`: console, json, or auto: by whether it is a terminal."""
    out = stream if stream is not None else sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not out.isatty())
    last: list[Any] = (
        [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    # What libraries say (asyncio's complaints about a slow callback, aiohttp's about a peer).
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=out, format="%(levelname)s %(name)s %(message)s", force=True
    )


def _in_order(_logger: Any, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put first what a reader looks for first."""
    first = {name: entry.pop(name) for name in ("time", "level", "event")}
    return {**first, **entry}
