"""Where the `tacit` command begins: little enough that Ctrl-C finds it ready, whatever else is still being imported."""

from __future__ import annotations

import signal
import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit 0 done, 1 failed, 2 misused, 130 interrupted."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        # Nothing is begun that could be cut off, and an exception amid an import ends up anywhere.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cloud.cli.root import root_of  # the imports that take the time

    root = root_of(sys.argv[1:])
    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        root()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
