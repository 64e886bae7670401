"""The daemon: builds everything from the configuration, starts it in order and stops it in reverse."""

from __future__ import annotations

from forwarder.daemon.assembly import Assembly
from forwarder.daemon.process import run

__all__ = ["Assembly", "run"]
