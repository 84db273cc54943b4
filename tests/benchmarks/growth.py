"""Whether the cost of an event grows: with the length of its history, or with what else is pending."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run, Running

EVENTS_PER_ACTIVITY = 6
EVENTS = 10_000
SIGNALS = 10_000  # the real server takes no more in one run
TURNS = 12
ACTIVITIES_A_TURN = 17  # a fresh history grows to about 100 events by it
SIGNALS_A_TURN = 100
FAN_OUT = 2_000  # the real server takes no more pending activities in one run
FAN_OUT_NARROW = 20
QUICK = 4


def history(run: Run) -> list[Figure]:
    """CPU per activity and per signal, on a history of 10,000 events and on histories of 100, taking turns."""
    scale = QUICK if run.quick else 1

    def measure(running: Running) -> tuple[dict[str, Any], dict[str, Any]]:
        name = running.server.name
        activities = run.load(
            running,
            "in-turn",
            f"{name}: history of {EVENTS // scale:,} events",
            count=EVENTS // EVENTS_PER_ACTIVITY // scale - TURNS * ACTIVITIES_A_TURN,
            window=ACTIVITIES_A_TURN,
            turns=TURNS,
        )
        signals = run.load(
            running,
            "signals",
            f"{name}: {SIGNALS // scale:,} signals",
            count=SIGNALS // scale - TURNS * SIGNALS_A_TURN,
            window=SIGNALS_A_TURN,
            turns=TURNS,
            in_flight=20,
        )
        return activities, signals

    with run.ours() as running:
        ours = measure(running)
    peer: tuple[dict[str, Any], dict[str, Any]] | None = None
    if run.peer and not run.quick:
        with run.real() as running:
            peer = measure(running)
    figures = []
    for what, index in (("activity", 0), ("signal", 1)):
        mine, other = ours[index], peer[index] if peer else {}
        for length, key in (("100", "short_cpu_ms"), (f"{mine['events']:,}", "long_cpu_ms")):
            figures.append(
                Figure(
                    name=f"CPU per {what}, history of {length} events",
                    unit="ms",
                    ours=mine[key],
                    peer=other.get(key),
                )
            )
        figures.append(
            Figure(
                name=f"growth of the cost of one {what}",
                unit="x",
                ours=_growth(mine),
                peer=_growth(other) if other else None,
                target=Target(bound=1.3, of_ratio=False),
            )
        )
    return figures


def fan_out(run: Run) -> list[Figure]:
    """CPU per activity with 2,000 of them in one workflow, against 20 of them."""
    count = FAN_OUT // QUICK if run.quick else FAN_OUT

    def measure(running: Running) -> dict[str, Any]:
        label = f"{running.server.name}: {count:,} activities at once"
        return run.load(running, "fan-out", label, count=count, window=FAN_OUT_NARROW)

    with run.ours() as running:
        ours = measure(running)
    peer: dict[str, Any] | None = None
    if run.peer and not run.quick:
        with run.real() as running:
            peer = measure(running)
    return [
        Figure(
            name=f"CPU per activity, {width}",
            unit="ms",
            ours=ours[key],
            peer=peer[key] if peer else None,
        )
        for width, key in (
            (f"{FAN_OUT_NARROW} at once", "narrow_cpu_ms"),
            (f"{count:,} at once", "wide_cpu_ms"),
        )
    ] + [
        Figure(
            name="growth of the cost of one activity with the fan-out",
            unit="x",
            ours=ours["wide_cpu_ms"] / ours["narrow_cpu_ms"],
            peer=peer["wide_cpu_ms"] / peer["narrow_cpu_ms"] if peer else None,
            target=Target(bound=1.3, of_ratio=False),
        )
    ]


def _growth(measured: dict[str, Any]) -> float:
    return float(measured["long_cpu_ms"] / measured["short_cpu_ms"])
