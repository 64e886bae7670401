"""Start the command line: `forwarder`, or `python -m forwarder`."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    open_missing_descriptors()
    try:
        # Imported here, so that Ctrl-C does not cause a traceback even while modules are being loaded.
        from forwarder.cli.root import cli

        cli.main(prog_name="forwarder")
    except KeyboardInterrupt:
        sys.exit(130)


def open_missing_descriptors() -> None:
    """Open /dev/null in place of standard descriptors that the caller has closed (`2>&-`).

    Otherwise the next file that is opened would get the number of the closed one. Messages to standard error
    could then be written into the queue, and libuv aborts a process that watches such a descriptor. It can still be
    seen that standard input or output was closed, because `sys.stdin` or `sys.stdout` is then None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # open(2) takes the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
    if sys.stderr is None:
        # Do not close the descriptor together with this object: others use it, too.
        with contextlib.suppress(OSError):
            sys.stderr = os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
