"""Run a campaign: `python -m tests.campaigns NAME …`, on demand only; exit code 0 if no promise was broken."""

from __future__ import annotations

import argparse
import sys

from tests.campaigns import crash, damage, disk, load
from tests.campaigns.power import campaign as power

CAMPAIGNS = {"crash": crash, "damage": damage, "disk": disk, "load": load, "power": power}


def main(words: list[str] | None = None) -> int:
    """Run the campaign that the words name, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description="Long runs that try to break it.")
    commands = parser.add_subparsers(dest="campaign", required=True, metavar="CAMPAIGN")
    for name, campaign in CAMPAIGNS.items():
        about = (campaign.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=about, description=about)
        campaign.add_arguments(command)
        command.set_defaults(run=campaign.run)
    options = parser.parse_args(words)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
