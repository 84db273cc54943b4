"""`python -m tests.chaos`: kills the server under load, then checks that nothing acknowledged was lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from tests.chaos import checker, survey
from tests.chaos.driver import PATIENCE, Driver
from tests.chaos.observations import Observations
from tests.processes import ProcessFailedError, Server, postgres, python_module, tacit_dev, temporal_dev

KILLS = 50
KILLS_POSTGRES = 20
INTERVAL_SECONDS = 4.0
VIOLATIONS_SHOWN_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of chaos on one database."""

    name: str
    kills: int
    interval_s: float
    in_flight: int
    workers: int
    seed: int


async def chaos(
    plan: Plan, server: Server, database: str | Path | None, folder: Path, bar: Progress
) -> Observations:
    """Load the server, kill it `plan.kills` times, see all workflows through, and survey what is left.

    Raises:
        ProcessFailedError: the server ended by itself, or did not come back.
    """
    dice = random.Random(plan.seed)
    step = bar.add_task(plan.name, total=plan.kills + 1, note="")
    server.start()
    workers = [
        python_module("tests.chaos.worker", server.address, log=folder / f"worker-{n}.log")
        for n in range(plan.workers)
    ]
    with ExitStack() as cleanup:
        for worker in workers:
            worker.start()
            cleanup.callback(worker.kill)
        client = await Client.connect(server.address, runtime=_quiet())
        driver = Driver(client=client, journal=folder / "acknowledged.jsonl", in_flight=plan.in_flight)
        driving = asyncio.create_task(driver.run())
        downtimes = []
        try:
            for kill in range(plan.kills):
                await asyncio.sleep(plan.interval_s * dice.uniform(0.3, 1.7))
                server.check()
                server.kill()
                began = time.monotonic()
                await asyncio.to_thread(server.start)
                downtimes.append(time.monotonic() - began)
                note = f"{len(driver.starts):,} workflows, {driver.signals:,} signals"
                bar.update(step, completed=kill + 1, note=f"{kill + 1} kills, {note}")
            await asyncio.sleep(plan.interval_s)
        finally:
            driver.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(driving, PATIENCE.total_seconds() * 2)
        if not driving.done() or driving.cancelled():
            driver.errors.append("some workflows did not end in time")
        server.check()
        seen, recounts, errors = await survey.runs(
            client, lambda count: bar.update(step, note=f"{count:,} histories read")
        )
        server.stop()
        bar.update(step, completed=plan.kills + 1)
        bar.console.print(_told(plan, driver, downtimes))
        return Observations(
            starts=driver.starts,
            runs=seen,
            admitted_twice=driver.admitted_twice,
            errors=[*driver.errors, *errors],
            ledger=None if database is None else await survey.ledger(database),
            recounts=recounts,
        )


def _quiet() -> Runtime:
    """The SDK warns of each call that it repeats: here that is all day's work."""
    quiet = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=quiet)))


def _told(plan: Plan, driver: Driver, downtimes: list[float]) -> str:
    repeated = ", ".join(f"{call} {times}" for call, times in sorted(driver.repeated.items())) or "none"
    return (
        f"{plan.name}: seed {plan.seed}, {len(downtimes)} kills (back after {max(downtimes, default=0):.1f} s at most), "
        f"{len(driver.starts):,} starts and {driver.signals:,} signals acknowledged, "
        f"{driver.refused_second_starts:,} second starts refused; calls repeated by hand: {repeated}"
    )


def report(console: Console, name: str, seen: Observations) -> dict[str, object]:
    """Check, print, and return it all as plain values."""
    violations = checker.check(seen)
    table = Table(title=name, title_justify="left", title_style="bold")
    for column in ("must hold", "violations", ""):
        table.add_column(column)
    for rule, found in violations.items():
        skipped = rule == "the ledger equals the recount" and seen.ledger is None
        verdict = (
            "[yellow]not checked: no ledger[/]"
            if skipped
            else "[red]broken[/]"
            if found
            else "[green]holds[/]"
        )
        table.add_row(rule, str(len(found)), verdict)
    console.print(table)
    shown = [violation for found in violations.values() for violation in found][:VIOLATIONS_SHOWN_MAX]
    for violation in shown:
        console.print(f"[red]{violation.rule}[/]: {violation.about}: {violation.what}", highlight=False)
    billed: dict[str, int] = {}
    for counts in (seen.ledger or {}).values():
        for kind, quantity in counts.items():
            billed[kind] = billed.get(kind, 0) + quantity
    return {
        "runs": len(seen.runs),
        "acknowledged_starts": len(seen.starts),
        "usage": billed,
        "violations": {
            rule: [f"{violation.about}: {violation.what}" for violation in found]
            for rule, found in violations.items()
        },
    }


def main() -> int:
    """Run the chosen chaos. Returns 1 on any violation."""
    options = _options()
    console = Console()
    databases = (
        ["postgres"]
        if options.postgres
        else ["sqlite"]
        if options.kills or options.peer
        else ["sqlite", "postgres"]
    )
    results: dict[str, dict[str, object]] = {}
    broken = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    for kind in databases:
        plan = Plan(
            name=f"kill -9 of {'the real server' if options.peer else 'tacit dev'} on {kind}",
            kills=options.kills or (KILLS if kind == "sqlite" else KILLS_POSTGRES),
            interval_s=options.interval,
            in_flight=options.in_flight,
            workers=options.workers,
            seed=options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000),
        )
        console.print(f"{plan.name}: seed {plan.seed}")
        with ExitStack() as stack:
            folder = (
                options.keep / kind
                if options.keep
                else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            )
            folder.mkdir(parents=True, exist_ok=True)
            database: str | Path | None = None
            if options.peer:
                server = temporal_dev(folder)
            elif kind == "postgres":
                database = stack.enter_context(postgres(folder)).url
                server = tacit_dev(folder, database)
            else:
                database = folder / "tacit.db"
                server = tacit_dev(folder)
            stack.callback(server.kill)
            bar = stack.enter_context(Progress(*columns, console=console, transient=True))
            try:
                seen = asyncio.run(chaos(plan, server, database, folder, bar))
            except ProcessFailedError as error:
                console.print(f"[red]{error}[/]", highlight=False)
                return 1
            results[plan.name] = {"seed": plan.seed, "kills": plan.kills, **report(console, plan.name, seen)}
            broken += checker.count(checker.check(seen))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="SIGKILL of the server at random moments under load; nothing acknowledged may be lost.",
        epilog="example: python -m tests.chaos --postgres --kills 20",
    )
    parser.add_argument(
        "--kills", type=int, help=f"how often (default: {KILLS} on SQLite, then {KILLS_POSTGRES} on Postgres)"
    )
    parser.add_argument("--interval", type=float, default=INTERVAL_SECONDS, help="mean seconds between kills")
    parser.add_argument("--postgres", action="store_true", help="on Postgres only")
    parser.add_argument(
        "--peer", action="store_true", help="kill the real server instead: tries the harness itself"
    )
    parser.add_argument("--in-flight", type=int, default=20, help="workflows at a time")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, help="the moments of the kills; printed by each run")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--keep", type=Path, help="keep databases, logs and the journal in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
