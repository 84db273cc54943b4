"""What single operations cost the server: signals, queries, updates, children, Nexus calls, schedules."""

from __future__ import annotations

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run, Running

OPERATIONS = {
    "signal": "signal to a workflow that takes it in",
    "query": "query",
    "update": "update, its result waited for",
    "update-accepted": "update, accepted",
    "child": "child workflow",
    "nexus": "Nexus call from a workflow",
    "schedule": "run of a schedule",
}
IN_FLIGHT = 20
SECONDS = 6.0


def figures(run: Run) -> list[Figure]:
    """CPU of each operation, ours beside the real server's."""

    def measure(running: Running, operation: str) -> float:
        measured = run.load(
            running,
            f"operation:{operation}",
            f"{running.server.name}: {OPERATIONS[operation]}",
            in_flight=IN_FLIGHT,
            seconds=run.seconds(SECONDS),
        )
        return float(measured["server_cpu_ms"])

    with run.ours() as running:
        ours = {operation: measure(running, operation) for operation in OPERATIONS}
    peer: dict[str, float] = {}
    if run.peer:
        with run.real() as running:
            peer = {operation: measure(running, operation) for operation in OPERATIONS}
    return [
        Figure(
            name=f"server CPU per {words}",
            unit="ms",
            ours=ours[operation],
            peer=peer.get(operation),
            target=Target(bound=0.25),
        )
        for operation, words in OPERATIONS.items()
    ]
