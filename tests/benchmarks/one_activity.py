"""One-activity workflows, one, twenty and a hundred in flight: CPU, throughput, latency, memory."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Any

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run, Running

LEVELS = {1: 4.0, 20: 6.0, 100: 6.0}  # in flight: seconds of load, in each round
ROUNDS = 3
MIB = 1024 * 1024

TARGETS = {
    "server CPU per workflow, 20 in flight": Target(bound=0.25),
    "throughput, 20 in flight": Target(bound=5, at_least=True),
    "throughput, 100 in flight": Target(bound=6, at_least=True),
    "median latency, 1 in flight": Target(bound=0.2),
    "memory at rest": Target(bound=120, of_ratio=False),
    "memory under load": Target(bound=250, of_ratio=False),
}
UNITS = {
    "server CPU per workflow": ("ms", "server_cpu_ms"),
    "throughput": ("/s", "per_second"),
    "median latency": ("ms", "median_ms"),
    "p99 latency": ("ms", "p99_ms"),
}


def figures(run: Run) -> list[Figure]:
    """Ours on SQLite beside the real server on SQLite, level by level in turn; the median of three rounds.

    A machine that others share has slow and fast minutes: what is compared is taken as close together as can be.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(run.ours())]
        if run.peer:
            servers.append(stack.enter_context(run.real()))
        taken = [_at_rest(running) for running in servers]
        for in_flight, seconds in LEVELS.items():
            rounds: list[list[dict[str, Any]]] = [[] for _ in servers]
            for _ in range(ROUNDS):
                for running, results in zip(servers, rounds, strict=True):
                    label = f"{running.server.name}: {in_flight} in flight"
                    length = run.seconds(seconds)
                    results.append(
                        run.load(running, "one-activity", label, in_flight=in_flight, seconds=length)
                    )
            for values, results in zip(taken, rounds, strict=True):
                for name, (_, key) in UNITS.items():
                    values[f"{name}, {in_flight} in flight"] = median(result[key] for result in results)
                values["memory under load"] = max(result["rss_max_bytes"] for result in results) / MIB
    ours, peer = taken[0], taken[1] if run.peer else {}
    return [
        Figure(name=name, unit=_unit(name), ours=ours[name], peer=peer.get(name), target=TARGETS.get(name))
        for name in sorted(ours, key=_order)
    ]


def _at_rest(running: Running) -> dict[str, float]:
    return {"memory at rest": running.rest_rss_bytes / MIB}


def on_postgres(run: Run) -> list[Figure]:
    """Ours on Postgres, the database's CPU included, beside the real server on SQLite."""
    from tests.processes import postgres

    name = "server and database CPU per workflow, Postgres, 20 in flight"
    seconds = run.seconds(LEVELS[20])
    with postgres(run.folder) as database, run.ours(database.url, (database.pid,)) as running:
        ours = run.load(running, "one-activity", "tacit dev on Postgres", in_flight=20, seconds=seconds)
    peer: dict[str, Any] = {}
    if run.peer:
        with run.real() as running:
            peer = run.load(running, "one-activity", "temporal server", in_flight=20, seconds=seconds)
    return [
        Figure(
            name=name,
            unit="ms",
            ours=ours["server_cpu_ms"],
            peer=peer.get("server_cpu_ms"),
            target=Target(bound=round(1 / 6, 3)),
        ),
        Figure(
            name="throughput, Postgres, 20 in flight",
            unit="/s",
            ours=ours["per_second"],
            peer=peer.get("per_second"),
        ),
    ]


def _unit(name: str) -> str:
    return next((unit for prefix, (unit, _) in UNITS.items() if name.startswith(prefix)), "MiB")


def _order(name: str) -> int:
    return [*UNITS, "memory at rest", "memory under load"].index(name.split(", ")[0])
