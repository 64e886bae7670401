"""`forwarder run`: run the daemon in the foreground."""

from __future__ import annotations

import atexit
import os
from functools import partial
from pathlib import Path

import click

from forwarder import log, lossy
from forwarder.cli.options import config_option
from forwarder.config import config_file, load


@click.command("run")
@config_option
def run_command(config_path: Path | None) -> None:
    """Run the daemon in the foreground.

    SIGTERM and Ctrl-C stop it, after delivering queued events for up to shutdown_timeout; a second one ends it at
    once. SIGHUP makes it read the configuration and the keys again. Nothing that was accepted is lost.
    """
    # Imported here, as the help of all commands loads this module and does not need the daemon.
    from forwarder.daemon import Assembly, ConfigFile, run

    # This is never undone, because the final error, a traceback or the output of a library must not block either.
    lossy.make_stderr_lossy()
    atexit.register(lossy.drain_stderr)
    file = ConfigFile(config_file(config_path, os.environ), partial(load, config_path, os.environ))
    config = file.load()
    log.configure(config.log.level, config.log.format)
    run(Assembly.build(config), file)
