"""`tacit-test-server PORT`: what the SDKs' time-skipping environments start as their server.

They run an executable with the port as its first argument, wait until it answers, and kill it at the end; so this is
`tacit dev --time-skipping --port PORT`, whose other options may follow.
"""

from __future__ import annotations

import sys

from cloud.cli import main as tacit


def main() -> None:
    """Run the server; exit 2 if the port is missing."""
    arguments = sys.argv[1:]
    if not arguments or not arguments[0].isdecimal():
        sys.stderr.write("The first argument is the port. Example: tacit-test-server 7233\n")
        sys.exit(2)
    sys.argv[1:] = ["dev", "--time-skipping", "--port", *arguments]
    tacit.main()
