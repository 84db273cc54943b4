"""All commands of `tacit`, put together.

Only the group that is asked for is imported: a start of the server pays for no client command, and the reverse.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Annotated

import typer

from cloud.cli.imports import without_grpcio

# Command -> (module whose `app` has it, what it is for). A module of `_NAMED` is itself the command.
COMMANDS = {
    "dev": ("server_commands", "a server for development: drop-in for `temporal server start-dev`"),
    "up": ("server_commands", "the whole cloud in one process"),
    "history": ("history", "export runs to files, and import them"),
    "signup": ("tenancy_commands", "make an account and its first namespace"),
    "namespace": ("tenancy_commands", "create, list, show, change and delete namespaces"),
    "cert": ("tenancy_commands", "make certificates for workers and clients"),
    "apikey": ("tenancy_commands", "create, list, disable and delete API keys"),
    "nexus": ("tenancy_commands", "create, list, show, change and delete Nexus endpoints"),
    "whoami": ("tenancy_commands", "who the service takes you for"),
    "keys": ("keys", "the key ring that encrypts your payloads"),
    "codec": (
        "codec_commands",
        "payloads on your side: a codec server, a proxy for workers in any language, proof",
    ),
    "usage": ("billing_commands", "what you used, by kind of action"),
    "invoice": ("billing_commands", "what it would cost"),
    "plan": ("billing_commands", "list, show and check price plans"),
}
_NAMED = frozenset({"codec_commands", "history", "keys"})


def root_of(arguments: Sequence[str]) -> Callable[[], None]:
    """What runs the command line, with what these arguments need imported; it exits 0 done, 1 failed, 2 misused."""
    # gRPC's own lines would stand before our one sentence; GRPC_VERBOSITY brings them back.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    root = typer.Typer(
        help="Tacit: an open, self-hostable durable-execution cloud.",
        epilog="Example: tacit dev --db tacit.db",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_about)
    if wanted in COMMANDS:
        name, _ = COMMANDS[wanted]
        with without_grpcio() if name == "server_commands" else nullcontext():
            module = importlib.import_module(f"cloud.cli.{name}")
        root.add_typer(module.app, name=wanted if name in _NAMED else None)
    else:
        for command, (_, sentence) in COMMANDS.items():
            root.command(command, help=sentence)(_not_reached)

    def run() -> None:
        try:
            root(prog_name="tacit")
        except SystemExit as end:
            _end_at_once_beside_the_sdk(end.code)
            raise

    return run


def _end_at_once_beside_the_sdk(code: str | int | None) -> None:
    """End the process here if the SDK's native part is loaded.

    Its threads may still be handing over the last answer, and an interpreter that takes itself down meanwhile aborts: a
    command that has done its work would end with a crash now and then.
    """
    if "temporalio.bridge.temporal_sdk_bridge" not in sys.modules:
        return
    for stream in (sys.stdout, sys.stderr):
        # Whoever read them may be gone.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tacit {importlib.metadata.version('tacit')}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Tacit: an open, self-hostable durable-execution cloud."""


def _not_reached() -> None:
    """Stands for a command in the list of all; a call of it imports the real one."""
