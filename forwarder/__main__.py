"""Start the command line: `forwarder`, or `python -m forwarder`."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    open_missing_descriptors()
    try:
        # Imported here, so that Ctrl-C while the modules load leaves no traceback either.
        from forwarder.cli.root import cli

        cli.main(prog_name="forwarder")
    except KeyboardInterrupt:
        sys.exit(130)


def open_missing_descriptors() -> None:
    """Open /dev/null in place of standard descriptors that the caller has closed (`2>&-`).

    Otherwise the next file that is opened takes its number: what is written to standard error would go into the
    queue, and libuv ends a process that watches such a descriptor. That standard input or output was closed is still
    told by `sys.stdin` and `sys.stdout`, which are None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
    if sys.stderr is None:
        # Not closed with the object: the descriptor is there for others, too.
        with contextlib.suppress(OSError):
            sys.stderr = os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
