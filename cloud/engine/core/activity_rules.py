"""Rules of a namespace that pause activities as they are about to start, or to be tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.state import Activity, ActivityPause, Execution
from cloud.engine.core.turn import Turn


@dataclass(frozen=True, slots=True)
class ActivityRule:
    """One rule. `matches` says which activities of which runs; `expires_at` is in ns, 0 for never."""

    rule_id: str
    identity: str
    reason: str
    expires_at: int
    matches: Callable[[Execution, Activity], bool]


def apply(turn: Turn, pending: Activity) -> bool:
    """Pause the activity if it is not paused and a rule wants it. Returns whether it is paused now.

    Costs nothing in a namespace without rules.
    """
    progress = pending.progress
    if progress.pause is not None:
        return True
    for rule in turn.around.activity_rules:
        expired = rule.expires_at and rule.expires_at <= turn.now
        if not expired and rule.matches(turn.execution, pending):
            if not progress.started_time:
                progress.stamp += 1
                progress.backing_off = False
            progress.pause = ActivityPause(turn.now, rule.identity, rule.reason, rule_id=rule.rule_id)
            turn.progress(pending.scheduled_event_id)
            turn.ask(UpdateVisibility())
            return True
    return False
