"""Set up the log: one line for each unit of work, readable on a terminal, as JSON elsewhere.

The content of an event, a token or a JWS is never logged. So tracebacks show code, but no values.

Where standard error is the journal of systemd, each line begins with its priority (sd-daemon(3)), which the journal
takes off again: `journalctl -p warning` then shows what needs a look.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO, cast

import structlog

from forwarder.lossy import LossyStream

# The priorities of syslog(3), as far as there are levels for them.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
# What a line begins with, so that it can be read where it is cut off.
_FIRST = ("event", "level", "time")


def configure(level: str, format: str, stream: TextIO | LossyStream | None = None) -> None:  # noqa: A002 - the setting's name
    """Set up logging to `stream` (standard error). `format` is console, json, or auto: console on a terminal.

    The daemon makes standard error a LossyStream before this, so that writing a line never blocks it.
    """
    out = stream if stream is not None else sys.stderr
    is_journal = leads_to_journal(out, os.environ)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not out.isatty())
    first: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last = _json() if as_json else _console(colors=out.isatty())
    if is_journal:
        last[-1] = _with_priority(last[-1])
    if isinstance(out, LossyStream):
        out.words = _lines_lost(as_json=as_json, priority=f"<{_PRIORITIES['warning']}>" if is_journal else "")
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


def leads_to_journal(out: TextIO | LossyStream, environ: Mapping[str, str]) -> bool:
    """Return whether a stream is the connection to the journal that systemd has made (systemd.exec(5))."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, io.UnsupportedOperation):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _with_priority(render: Callable[[Any, str, Any], str]) -> Callable[[Any, str, Any], str]:
    """Return a renderer whose lines begin with the priority of their level; a traceback has several."""

    def rendered(logger: Any, method: str, fields: Any) -> str:
        priority = f"<{_PRIORITIES[fields['level']]}>"
        return priority + render(logger, method, fields).replace("\n", f"\n{priority}")

    return rendered


def _lines_lost(*, as_json: bool, priority: str) -> Callable[[int], str]:
    """Return a function that makes the line saying how many lines could not be written."""
    if as_json:
        fields = {"event": "log.lines_lost", "level": "warning"}
        return lambda lines: f"{priority}{json.dumps({**fields, 'lines': lines})}\n"
    return f"{priority}log.lines_lost lines={{}}\n".format


def _in_order(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {**{name: fields[name] for name in _FIRST}, **fields}


def _json() -> list[Any]:
    return [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]


def _console(*, colors: bool) -> list[Any]:
    # The default formatter of tracebacks would show local variables, which may be events or tokens.
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
