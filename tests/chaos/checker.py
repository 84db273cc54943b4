"""What must hold after the chaos, each as a pure function from the observations to what violates it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from billing import differences
from tests.chaos.observations import Observations, SeenRun
from tests.chaos.workflows import outcome_of

COMPLETED = "WORKFLOW_EXECUTION_COMPLETED"


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken promise: `rule` names it, `about` the workflow."""

    rule: str
    about: str
    what: str


Rule = Callable[[Observations], Iterator[Violation]]


def check(seen: Observations) -> dict[str, list[Violation]]:
    """All violations by rule; a rule that holds has an empty list."""
    return {name: list(rule(seen)) for name, rule in RULES.items()}


def every_start_completes(seen: Observations) -> Iterator[Violation]:
    """Every workflow whose start was acknowledged is there, completed, with the right result."""
    rule = "acknowledged starts complete with the right result"
    runs = {run.run_id: run for run in seen.runs}
    for start in seen.starts:
        run = runs.get(start.run_id)
        if run is None:
            yield Violation(rule=rule, about=start.workflow_id, what=f"run {start.run_id} is gone")
            continue
        expected = outcome_of(start.order, start.signals)
        if run.closing_event != COMPLETED:
            what = f"ended with {run.closing_event}" if run.closing_event else "is still open"
            yield Violation(rule=rule, about=start.workflow_id, what=what)
        elif run.result != expected:
            yield Violation(rule=rule, about=start.workflow_id, what=f"{run.result} instead of {expected}")
        elif start.result is not None and start.result != run.result:
            what = f"a client was told {start.result}, the history has {run.result}"
            yield Violation(rule=rule, about=start.workflow_id, what=what)


def signals_are_kept_once(seen: Observations) -> Iterator[Violation]:
    """No acknowledged signal is lost, doubled or out of its sender's order; none appears from nowhere."""
    rule = "acknowledged signals are kept, once, in order"
    runs = {run.run_id: run for run in seen.runs}
    for start in seen.starts:
        run = runs.get(start.run_id)
        if run is None:
            continue
        words = [signal.word for signal in run.signals]
        for word in start.signals:
            if words.count(word) != 1:
                what = f"signal {word!r} is in the history {words.count(word)} times"
                yield Violation(rule=rule, about=start.workflow_id, what=what)
        if set(words) - set(start.signals):
            what = f"signals that nobody sent: {sorted(set(words) - set(start.signals))}"
            yield Violation(rule=rule, about=start.workflow_id, what=what)
        if sorted(words) == sorted(start.signals) and words != list(start.signals):
            what = f"signals sent as {list(start.signals)} came as {words}"
            yield Violation(rule=rule, about=start.workflow_id, what=what)
        for request_id, times in Counter(signal.request_id for signal in run.signals).items():
            if times > 1:
                what = f"signal request {request_id} was taken {times} times"
                yield Violation(rule=rule, about=start.workflow_id, what=what)


def no_two_runs_at_once(seen: Observations) -> Iterator[Violation]:
    """A workflow id has one open run at most: the spans of its runs do not overlap."""
    rule = "a workflow id never runs twice at once"
    by_id: dict[str, list[SeenRun]] = defaultdict(list)
    for run in seen.runs:
        by_id[run.workflow_id].append(run)
    for workflow_id, runs in by_id.items():
        runs.sort(key=lambda run: (run.started_at, run.ended_at or float("inf")))
        for earlier, later in pairwise(runs):
            if not earlier.ended_at or earlier.ended_at > later.started_at:
                what = f"run {later.run_id} began while {earlier.run_id} was open"
                yield Violation(rule=rule, about=workflow_id, what=what)
    for workflow_id in seen.admitted_twice:
        yield Violation(
            rule=rule, about=workflow_id, what="a second start was acknowledged while it was open"
        )


def nothing_unasked(seen: Observations) -> Iterator[Violation]:
    """Every run is one that a start was acknowledged for, or a child of one; none is listed twice."""
    rule = "no run that nobody asked for"
    asked = {start.run_id for start in seen.starts}
    for run in seen.runs:
        if not run.is_child and run.run_id not in asked:
            yield Violation(
                rule=rule, about=run.workflow_id, what=f"run {run.run_id} has no acknowledged start"
            )
    for run_id, times in Counter(run.run_id for run in seen.runs).items():
        if times > 1:
            yield Violation(rule=rule, about=run_id, what=f"is listed {times} times")


def histories_are_whole(seen: Observations) -> Iterator[Violation]:
    """Event ids are 1, 2, 3 … without a gap, and nothing follows the one closing event."""
    rule = "histories are whole"
    for run in seen.runs:
        if list(run.event_ids) != list(range(1, len(run.event_ids) + 1)):
            yield Violation(rule=rule, about=run.workflow_id, what=f"event ids {list(run.event_ids)}")
        if run.closing_events > 1 or (run.closing_events == 1 and not run.closing_event):
            what = f"{run.closing_events} closing events, the last event is {run.closing_event or 'another'}"
            yield Violation(rule=rule, about=run.workflow_id, what=what)


def ledger_equals_recount(seen: Observations) -> Iterator[Violation]:
    """For each run, usage by kind equals what its history shows, for the kinds that histories show."""
    rule = "the ledger equals the recount"
    if seen.ledger is None:
        return
    for run in seen.runs:
        recount = seen.recounts.get(run.run_id)
        if recount is None:
            yield Violation(rule=rule, about=run.workflow_id, what=f"run {run.run_id} was not recounted")
            continue
        for kind, (ledger, history) in differences(seen.ledger.get(run.run_id, {}), recount).items():
            what = f"run {run.run_id}: {kind} is {ledger} in the ledger, {history} by its history"
            yield Violation(rule=rule, about=run.workflow_id, what=what)
    for run_id in sorted(seen.ledger.keys() - {run.run_id for run in seen.runs}):
        yield Violation(rule=rule, about=run_id, what="usage of a run that does not exist")


def no_unexplained_answers(seen: Observations) -> Iterator[Violation]:
    """A crash shows as UNAVAILABLE or a broken connection, as nothing else; and all ends in time."""
    for error in seen.errors:
        yield Violation(rule="no answers that a crash does not explain", about="", what=error)


RULES: dict[str, Rule] = {
    "acknowledged starts complete with the right result": every_start_completes,
    "acknowledged signals are kept, once, in order": signals_are_kept_once,
    "a workflow id never runs twice at once": no_two_runs_at_once,
    "no run that nobody asked for": nothing_unasked,
    "histories are whole": histories_are_whole,
    "the ledger equals the recount": ledger_equals_recount,
    "no answers that a crash does not explain": no_unexplained_answers,
}


def count(violations: dict[str, list[Violation]]) -> int:
    """How many there are."""
    return sum(len(found) for found in violations.values())
