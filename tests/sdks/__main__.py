"""`python -m tests.sdks [SDK…]`: prints a table of SDK, version, server, step and outcome; exit 0 if all passed."""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.processes import BIN, Server, free_port, sign_up, tacit_dev, tacit_up
from tests.sdks.crossing import cross
from tests.sdks.programs import PROGRAMS, BuildFailedError, Program

Environments = Mapping[str, Mapping[str, str]]


def serve(stack: ExitStack, folder: Path) -> Environments:
    """Start both servers, and a sidecar; how a client is told of each, by its name."""
    dev, up = tacit_dev(folder), tacit_up(folder)
    for server in (dev, up):
        stack.callback(server.stop)
        server.start()
    objects = folder / "objects"
    objects.mkdir()
    # The SDKs' programs have no codec, so their payloads can be read: the guard lets them pass.
    config = {"TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml")}
    sign_up(up, folder, namespace="programs", objects=objects, env=config, more=("--guard", "off"))
    plain = folder / "plain.toml"
    plain.write_text(f'[profile.default]\naddress = "{dev.address}"\nnamespace = "default"\n')
    return {
        "tacit dev": {"TEMPORAL_CONFIG_FILE": str(plain)},
        "tacit up, mTLS": config,
        "tacit up, guard on, sidecar": through_sidecar(stack, folder, up, objects),
    }


def through_sidecar(stack: ExitStack, folder: Path, up: Server, objects: Path) -> Mapping[str, str]:
    """A namespace that takes encrypted payloads only, and a sidecar that encrypts them, as its certificate's holder."""
    (folder / "sealed").mkdir()
    config = {"TEMPORAL_CONFIG_FILE": str(folder / "sealed" / "temporal.toml")}
    second = ("--email", "second@example.com", "--organization", "Second")
    namespace = sign_up(up, folder, namespace="sealed", objects=objects, env=config, more=second)
    port = free_port()
    sidecar = Server(
        name="tacit codec proxy",
        command=[str(BIN / "tacit"), "codec", "proxy", "--listen", f"127.0.0.1:{port}"],
        ports=[port],
        log=folder / "sidecar.log",
        env=config,
    )
    stack.callback(sidecar.stop)
    sidecar.start()
    plain = folder / "sidecar.toml"
    plain.write_text(f'[profile.default]\naddress = "{sidecar.address}"\nnamespace = "{namespace}"\n')
    return {"TEMPORAL_CONFIG_FILE": str(plain)}


def build(console: Console, program: Program, table: Table) -> Path | None:
    """Build one program; None if it can't be built."""
    with console.status(f"{program.sdk}: building"):
        try:
            return program.made()
        except BuildFailedError as error:
            table.add_row(program.sdk, "?", "", "build", f"[red]{escape(str(error))}")
            return None


def try_out(
    console: Console, program: Program, folder: Path, environments: Environments, table: Table
) -> bool:
    """Run one program against each server; whether all its steps passed."""
    passed = True
    for server, environment in environments.items():
        with console.status(f"{program.sdk}: against {server}"):
            outcomes = program.run(folder, environment)
        for step, outcome in outcomes.items():
            good = outcome == "ok"
            passed = passed and good
            shown = "[green]passed" if good else f"[red]{escape(outcome)}"
            table.add_row(program.sdk, program.version(folder), server, step, shown)
    return passed


def main() -> int:
    """Run the programs. Returns 1 if a step failed."""
    names = [program.name for program in PROGRAMS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.sdks", description=inspect.getdoc(sys.modules["tests.sdks"])
    )
    parser.add_argument("sdks", nargs="*", choices=[*names, []], help="which ones; by default all")
    parser.add_argument("--crossing", action="store_true", help="only that they read each other's payloads")
    options = parser.parse_args()
    wanted, crossing_only = options.sdks or names, options.crossing
    console = Console(highlight=False)
    table = Table("SDK", "version", "server", "step", "outcome")
    passed = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tacit-sdks-")))
        built: dict[Program, Path] = {}
        crossing = folder / "crossing"
        crossing.mkdir()
        environments = {} if crossing_only else serve(stack, folder)
        for program in PROGRAMS:
            if program.name not in wanted:
                continue
            if missing := program.missing():
                table.add_row(program.sdk, "", "", "", f"left out: no {' and no '.join(missing)} here")
                continue
            place = build(console, program, table)
            if place is None:
                passed = False
                continue
            built[program] = place
            if not crossing_only:
                passed = try_out(console, program, place, environments, table) and passed
        with console.status("all languages with the same keys: starting") as status:
            for one in cross(crossing, built):
                status.update(f"all languages with the same keys: {one.sdk} {one.step}")
                passed = passed and one.outcome == "ok"
                shown = "[green]passed" if one.outcome == "ok" else f"[red]{escape(one.outcome)}"
                table.add_row(one.sdk, "", "tacit dev, encrypted", one.step, shown)
    Console(highlight=False, width=110).print(table)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
