"""The checker finds each fault it is there for: a run without faults, broken in one place at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from billing import Recount
from tests.chaos.checker import COMPLETED, check
from tests.chaos.observations import AcknowledgedStart, Observations, SeenRun, SeenSignal
from tests.chaos.workflows import order_of, outcome_of

COUNTS = {"start_workflow": 1, "schedule_activity": 1, "signal_workflow": 3}
WORDS = ("a", "b", "c")


def sound() -> Observations:
    order = order_of(3)
    start = AcknowledgedStart(workflow_id="order-3", run_id="run-1", order=order, signals=WORDS)
    run = SeenRun(
        workflow_id="order-3",
        run_id="run-1",
        started_at=100,
        ended_at=200,
        closing_event=COMPLETED,
        result=outcome_of(order, WORDS),
        event_ids=[1, 2, 3],
        closing_events=1,
        signals=[SeenSignal(request_id=f"request-{word}", word=word) for word in WORDS],
    )
    again = replace(run, run_id="run-2", started_at=200, ended_at=300)
    recount = Recount(counts=COUNTS, at_least=frozenset())
    return Observations(
        starts=[start, replace(start, run_id="run-2")],
        runs=[run, again],
        ledger={"run-1": COUNTS, "run-2": COUNTS},
        recounts={"run-1": recount, "run-2": recount},
    )


def with_first_run(**changes: object) -> Observations:
    seen = sound()
    return replace(seen, runs=[replace(seen.runs[0], **changes), seen.runs[1]])  # type: ignore[arg-type]


def with_signals(*words: str) -> Observations:
    return with_first_run(
        signals=[SeenSignal(request_id=f"request-{at}", word=w) for at, w in enumerate(words)]
    )


def same_request_twice() -> Observations:
    return with_first_run(
        signals=[SeenSignal(request_id="same" if word != "c" else "other", word=word) for word in WORDS]
    )


def ledger_with(**counts: int) -> Observations:
    return replace(sound(), ledger={"run-1": {**COUNTS, **counts}, "run-2": COUNTS})


STARTS = "acknowledged starts complete with the right result"
SIGNALS = "acknowledged signals are kept, once, in order"
TWICE = "a workflow id never runs twice at once"
UNASKED = "no run that nobody asked for"
WHOLE = "histories are whole"
LEDGER = "the ledger equals the recount"

FAULTS: dict[str, tuple[Callable[[], Observations], str]] = {
    "an acknowledged start is gone": (lambda: replace(sound(), runs=sound().runs[1:]), STARTS),
    "a run never ended": (lambda: with_first_run(closing_event="", ended_at=0, closing_events=0), STARTS),
    "a run failed": (lambda: with_first_run(closing_event="WORKFLOW_EXECUTION_FAILED"), STARTS),
    "a wrong result": (lambda: with_first_run(result=outcome_of(order_of(4), WORDS)), STARTS),
    "a client was told another result": (
        lambda: replace(sound(), starts=[replace(sound().starts[0], result="else"), sound().starts[1]]),
        STARTS,
    ),
    "a signal is lost": (lambda: with_signals("a", "c"), SIGNALS),
    "a signal is doubled": (lambda: with_signals("a", "b", "b", "c"), SIGNALS),
    "a signal from nowhere": (lambda: with_signals("a", "b", "c", "d"), SIGNALS),
    "signals out of order": (lambda: with_signals("b", "a", "c"), SIGNALS),
    "one signal request taken twice": (same_request_twice, SIGNALS),
    "two runs overlap": (lambda: with_first_run(ended_at=201), TWICE),
    "an open run beside another": (lambda: with_first_run(ended_at=0), TWICE),
    "a second start was admitted": (lambda: replace(sound(), admitted_twice=["order-3"]), TWICE),
    "a run nobody asked for": (lambda: replace(sound(), starts=sound().starts[:1]), UNASKED),
    "a run is listed twice": (lambda: replace(sound(), runs=[*sound().runs, sound().runs[0]]), UNASKED),
    "an event is missing": (lambda: with_first_run(event_ids=[1, 3]), WHOLE),
    "an event follows the end": (lambda: with_first_run(closing_event=""), WHOLE),
    "two closing events": (lambda: with_first_run(closing_events=2), WHOLE),
    "billed once too often": (lambda: ledger_with(schedule_activity=2), LEDGER),
    "not billed": (lambda: ledger_with(start_workflow=0), LEDGER),
    "billed for another kind": (lambda: ledger_with(start_timer=1), LEDGER),
    "billed for a run that is not": (
        lambda: replace(sound(), ledger={**sound().ledger, "run-3": COUNTS}),  # type: ignore[dict-item]
        LEDGER,
    ),
    "an answer that a crash does not explain": (
        lambda: replace(sound(), errors=["INTERNAL"]),
        "no answers that a crash does not explain",
    ),
}


def test_a_sound_run_passes() -> None:
    assert not any(check(sound()).values())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    broken, rule = FAULTS[fault]
    assert check(broken())[rule]
