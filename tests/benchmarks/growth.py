"""Whether the cost of an event grows: with the length of its history, or with what else is pending."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run, Running

EVENTS_PER_ACTIVITY = 6
EVENTS = 10_000
SIGNALS = 10_000  # the real server takes no more in one run
WINDOW_EVENTS = 900
FAN_OUT = 2_000  # the real server takes no more pending activities in one run
FAN_OUT_NARROW = 20
QUICK = 4


def history(run: Run) -> list[Figure]:
    """CPU per activity and per signal, at about event 500 of a history and at its end."""
    scale = QUICK if run.quick else 1

    def measure(running: Running) -> tuple[dict[str, Any], dict[str, Any]]:
        name = running.server.name
        activities = run.load(
            running,
            "in-turn",
            f"{name}: history of {EVENTS // scale:,} events",
            count=EVENTS // EVENTS_PER_ACTIVITY // scale,
            window=WINDOW_EVENTS // EVENTS_PER_ACTIVITY,
        )
        signals = run.load(
            running,
            "signals",
            f"{name}: {SIGNALS // scale:,} signals",
            count=SIGNALS // scale,
            window=WINDOW_EVENTS,
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
        note = f"history of {mine['events']:,} events"
        figures += [
            Figure(
                name=f"CPU per {what}, early in its history",
                unit="ms",
                ours=mine["first_cpu_ms"],
                peer=other.get("first_cpu_ms"),
            ),
            Figure(
                name=f"CPU per {what}, late in its history",
                unit="ms",
                ours=mine["last_cpu_ms"],
                peer=other.get("last_cpu_ms"),
                note=note,
            ),
            Figure(
                name=f"growth of the cost of one {what}",
                unit="x",
                ours=_growth(mine),
                peer=_growth(other) if other else None,
                target=Target(bound=1.3, of_ratio=False),
                note=note,
            ),
        ]
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
    return float(measured["last_cpu_ms"] / measured["first_cpu_ms"])
