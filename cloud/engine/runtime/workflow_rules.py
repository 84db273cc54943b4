"""A namespace's workflow rules: their predicates, read once, and what the core gets of them.

Rules are stored with their namespace: few, small, and in memory. A predicate is a condition of the list filter's language, over an
activity; a rule may also name, by a second one, the workflows that it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from temporalio.api.enums.v1 import IndexedValueType, WorkflowExecutionStatus
from temporalio.api.rules.v1 import WorkflowRule, WorkflowRuleSpec

from cloud.engine.core.activity_rules import ActivityRule
from cloud.engine.core.clock import SECOND, to_ns
from cloud.engine.core.state import Activity, Execution
from cloud.engine.runtime.conditions import compiled
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.visibility_attributes import DATETIME, INT, KEYWORD, Attribute
from cloud.engine.store.visibility_conditions import FilterError
from cloud.engine.store.visibility_filter import parse_condition

log = structlog.get_logger(__name__)


def _state(activity: Activity) -> str:
    if activity.progress.pause is not None:
        return "Paused"
    if activity.progress.started_time:
        return "Started"
    return "CancelRequested" if activity.cancel_requested_event_id else "Scheduled"


def _backoff_s(activity: Activity) -> int:
    progress = activity.progress
    if progress.attempt < 2:
        return 0
    return max(progress.scheduled_time - progress.last_attempt_complete_time, 0) // SECOND


def _status(execution: Execution) -> str:
    name = WorkflowExecutionStatus.Name(WorkflowExecutionStatus.ValueType(execution.shown_status))
    return name.removeprefix("WORKFLOW_EXECUTION_STATUS_").title()


_Attributes = Mapping[str, tuple[IndexedValueType.ValueType, Callable[[Any], Any]]]

OF_ACTIVITIES: _Attributes = {
    "ActivityId": (KEYWORD, lambda activity: activity.scheduled.activity_id),
    "ActivityType": (KEYWORD, lambda activity: activity.scheduled.activity_type.name),
    "ActivityState": (KEYWORD, _state),
    "TaskQueue": (KEYWORD, lambda activity: activity.options.task_queue.name),
    "Attempts": (INT, lambda activity: activity.progress.attempt),
    "BackoffInterval": (INT, _backoff_s),
    "StartedTime": (DATETIME, lambda activity: activity.progress.started_time),
}
OF_WORKFLOWS: _Attributes = {
    "WorkflowId": (KEYWORD, lambda execution: execution.key.workflow_id),
    "WorkflowType": (KEYWORD, lambda execution: execution.started.workflow_type.name),
    "ExecutionStatus": (KEYWORD, _status),
    "StartTime": (DATETIME, lambda execution: execution.start_time),
}


def _predicate(text: str, attributes: _Attributes) -> Callable[[Any], bool]:
    def find(name: str) -> Attribute:
        if name not in attributes:
            raise FilterError(
                f"unknown or unsupported field: {name[:100]} (there are {', '.join(attributes)})"
            )
        return Attribute(name, name, attributes[name][0])

    condition = parse_condition(text, find)
    if condition is None:
        raise FilterError("it is empty")
    return compiled(condition, {name: value_of for name, (_, value_of) in attributes.items()})


def matcher(spec: WorkflowRuleSpec) -> Callable[[Execution, Activity], bool]:
    """Whether a rule is for an activity of a run.

    Raises:
        FilterError: a predicate of it is none.
    """
    of_activity = _predicate(spec.activity_start.predicate, OF_ACTIVITIES)
    if not spec.visibility_query:
        return lambda _, activity: of_activity(activity)
    of_run = _predicate(spec.visibility_query, OF_WORKFLOWS)
    return lambda execution, activity: of_run(execution) and of_activity(activity)


def activity_rules_of(namespace: Namespace) -> tuple[ActivityRule, ...]:
    """The namespace's rules that pause activities, as the core takes them."""
    return tuple(
        rule for data in namespace.workflow_rules.values() if (rule := _activity_rule(data)) is not None
    )


def _activity_rule(data: bytes) -> ActivityRule | None:
    rule = WorkflowRule.FromString(data)
    spec = rule.spec
    if not spec.HasField("activity_start") or not any(a.HasField("activity_pause") for a in spec.actions):
        return None
    try:
        matches = matcher(spec)
    except FilterError as error:
        log.error("workflow_rule_can_not_be_read", rule_id=spec.id, reason=str(error))
        return None
    expires_at = to_ns(spec.expiration_time) if spec.HasField("expiration_time") else 0
    return ActivityRule(spec.id, rule.created_by_identity, rule.description, expires_at, matches)
