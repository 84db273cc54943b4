"""Histories as numbered, readable text.

One event a line: its number, its type, then the attributes that are not the usual ones
(`scheduled_event_id` of the event before, attempt 1, the scenario's own task queue and so on).
"""

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from .rendering import IDENTITY, Names, fields

_USUAL: dict[str, dict[str, str]] = {
    "WorkflowExecutionStarted": {
        "attempt": "1",
        "workflow_task_timeout": "10s",
        "first_workflow_task_backoff": "0s",
        "workflow_id": "wf",
        "workflow_type.name": "demo",
        "task_queue": "tq",
    },
    "WorkflowTaskScheduled": {"attempt": "1", "start_to_close_timeout": "10s", "task_queue": "tq"},
    "ActivityTaskScheduled": {
        "task_queue": "tq",
        "activity_type.name": "act",
        "retry_policy.initial_interval": "1s",
        "retry_policy.backoff_coefficient": "2.0",
        "retry_policy.maximum_interval": "100s",
    },
    "ActivityTaskStarted": {"attempt": "1"},
    "StartChildWorkflowExecutionInitiated": {"task_queue": "tq"},
    "WorkflowExecutionContinuedAsNew": {"task_queue": "tq", "workflow_type.name": "demo"},
    "WorkflowTaskStarted": {"request_id": "<id>", "history_size_bytes": "<set>"},
}


def history_text(events: Iterable[HistoryEvent], names: Names) -> str:
    """The whole history, a line an event."""
    return "\n".join(event_text(event, names) for event in events)


def event_text(event: HistoryEvent, names: Names) -> str:
    """One event: `5 TimerStarted timer_id=t start_to_fire_timeout=1s`."""
    kind = type_name(event)
    attributes = event.WhichOneof("attributes")
    shown = fields(getattr(event, attributes), names) if attributes else {}
    usual = dict(_USUAL.get(kind, {}))
    if kind == "WorkflowTaskStarted":
        usual["scheduled_event_id"] = str(event.event_id - 1)
        if event.event_id == 3:
            # A task that comes with the start is told none by the real server.
            shown["history_size_bytes"] = "<set>"
    if kind in {"WorkflowTaskCompleted", "WorkflowTaskFailed", "WorkflowTaskTimedOut"}:
        usual["scheduled_event_id"] = str(event.event_id - 2)
        usual["started_event_id"] = str(event.event_id - 1)
    if kind == "WorkflowExecutionStarted" and shown.get("first_execution_run_id") == shown.get(
        "original_execution_run_id"
    ):
        shown.pop("first_execution_run_id", None)
        shown.pop("original_execution_run_id", None)
    backoff = shown.get("first_workflow_task_backoff")
    if shown.get("initiator") == "WORKFLOW" and backoff in {None, "up to 1s"}:
        # What follows a run of less than a second is held back for the rest of it: by the machine's pace.
        shown.pop("first_workflow_task_backoff", None)
        usual.pop("first_workflow_task_backoff", None)
    if attributes and "identity" in getattr(event, attributes).DESCRIPTOR.fields_by_name:
        usual.setdefault("identity", IDENTITY)
    parts = [f"{key}={value}" for key, value in shown.items() if usual.get(key) != value]
    parts += [f"{key}=unset" for key, value in usual.items() if key not in shown]
    rest = HistoryEvent()
    rest.CopyFrom(event)
    if attributes:
        rest.ClearField(attributes)
    beside = fields(rest, names)
    if beside.pop("event_time", "") != "<time>":
        parts.append("event_time=unset")
    parts += [f"{key}={value}" for key, value in beside.items()]
    return " ".join([str(event.event_id), kind, *parts])


def type_name(event: HistoryEvent) -> str:
    """`EVENT_TYPE_TIMER_FIRED` as `TimerFired`."""
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    return "".join(part.capitalize() for part in name.split("_"))
