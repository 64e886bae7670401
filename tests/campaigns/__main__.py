"""Start a campaign.

python -m tests.campaigns crash --rounds 100 --seed 1
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import tests.campaigns as here


def main(words: list[str] | None = None) -> int:
    """Run the campaign that the words name, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description="Long runs that try to break it.")
    commands = parser.add_subparsers(dest="campaign", required=True, metavar="CAMPAIGN")
    modules = [found.name for found in pkgutil.iter_modules(here.__path__) if not found.ispkg]
    for name in (name for name in modules if not name.startswith(("_", "test_"))):
        campaign = importlib.import_module(f"{here.__name__}.{name}")
        about = (campaign.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=about, description=about)
        campaign.add_arguments(command)
        command.set_defaults(run=campaign.run)
    options = parser.parse_args(words)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
