"""`python -m tests.benchmarks`: takes the figures, prints them, and writes them down."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import (
    codec_bench,
    files_bench,
    growth,
    idle,
    layers,
    machine,
    offload_bench,
    one_activity,
    operations,
    profiling,
    report,
    sidecar,
)
from tests.benchmarks.figures import Figure, not_taken
from tests.benchmarks.run import NotTakenError, Run
from tests.processes import ROOT

BENCHMARKS: dict[str, tuple[str, Callable[[Run], list[Figure]]]] = {
    "one-activity": ("One-activity workflows, durable SQLite", one_activity.figures),
    "history": ("The cost of an event as its history grows", growth.history),
    "fan-out": ("The cost of an activity as the fan-out grows", growth.fan_out),
    "operations": ("Single operations, 20 in flight", operations.figures),
    "layers": ("The price of each layer, 20 in flight", layers.figures),
    "postgres": ("One-activity workflows, Postgres", one_activity.on_postgres),
    "idle-scale": ("A million sleeping workflows", idle.scale),
    "long-polls": ("Ten thousand waiting polls", idle.long_polls),
    "codec": ("Payload encryption", codec_bench.figures),
    "sidecar": ("One-activity workflows through the sidecar, 20 in flight", sidecar.figures),
    "files": ("Files through activities", files_bench.figures),
    "offload": ("Offloaded payloads", offload_bench.figures),
}


def main() -> int:
    """Take the chosen figures. Returns 1 if `--strict` and one that is to reach something did not."""
    options = _options()
    console = Console()
    bar = Progress(
        TextColumn("{task.description:<48}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    facts = machine.facts()
    sections: dict[str, Sequence[Figure]] = {}
    with tempfile.TemporaryDirectory(prefix="tacit-bench-") as folder, bar:
        step = bar.add_task("", total=1.0)
        run = Run(
            quick=options.quick,
            peer=not options.no_peer,
            folder=Path(folder),
            on_step=lambda label, done: bar.update(step, description=label, completed=done),
        )
        if options.profile:
            bar.console.print(f"profile written to {profiling.record(run, options.profile)}")
            return 0
        for name in options.only or BENCHMARKS:
            title, take = BENCHMARKS[name]
            try:
                sections[name] = take(run)
            except NotTakenError as error:
                sections[name] = [not_taken(title, "", error)]
            report.show(bar.console, title, sections[name])
    report.keep(options.json, facts, sections, options.quick)
    console.print(f"{facts['cores']} cores, {facts['cpu']}; kept in {options.json}")
    verdicts = [figure.verdict for figures in sections.values() for figure in figures]
    return 1 if options.strict and {"not met", "not taken"} & set(verdicts) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Figures of `tacit dev` and `tacit up` beside the real server's, taken in one run.",
        epilog="example: python -m tests.benchmarks --quick --only one-activity",
    )
    parser.add_argument("--quick", action="store_true", help="a quarter of the load, rougher figures")
    parser.add_argument(
        "--only", action="append", choices=sorted(BENCHMARKS), help="one benchmark; repeatable"
    )
    parser.add_argument("--no-peer", action="store_true", help="do not measure the real server")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is not met")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "benchmarks" / "latest.json", help="where the figures are kept"
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="only sample our server under 20 in flight with py-spy: .svg flame graph, else speedscope JSON",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
