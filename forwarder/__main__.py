"""Start the command line: `forwarder`, or `python -m forwarder`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    try:
        # Imported here, so that Ctrl-C while the modules load leaves no traceback either.
        from forwarder.cli.root import cli

        cli.main(prog_name="forwarder")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
