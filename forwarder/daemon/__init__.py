"""The daemon: build everything from the configuration, start it in order, and stop it in reverse order."""

from __future__ import annotations

from forwarder.daemon.assembly import Assembly
from forwarder.daemon.config_file import ConfigFile
from forwarder.daemon.process import run

__all__ = ["Assembly", "ConfigFile", "run"]
