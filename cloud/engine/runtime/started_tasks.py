"""What a worker is given with a task, as it was when it took it."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.query.v1 import WorkflowQuery

from cloud.engine.core import workflow_task
from cloud.engine.core.state import Activity
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.queries import PendingQuery


@dataclass(slots=True)
class StartedWorkflowTask:
    """A workflow task that a worker was given, as it was at that moment. Times are ns.

    `tail` holds the events from `previous_started_event_id` on if memory had them, for a sticky worker; `suffix` the events of a
    transient attempt.
    """

    hot: HotRun
    scheduled_event_id: int
    started_event_id: int
    attempt: int
    scheduled_time: int
    started_time: int
    sticky: bool
    previous_started_event_id: int
    last_event_id: int
    tail: list[HistoryEvent] | None
    suffix: list[HistoryEvent]
    messages: list[ProtocolMessage] = field(default_factory=list)
    queries: dict[str, WorkflowQuery] = field(default_factory=dict)
    backlog: int = 0
    scaling: int = 0  # by how many its worker had better change the number of its polls


@dataclass(slots=True)
class StartedActivity:
    """An activity attempt that a worker was given."""

    hot: HotRun
    activity: Activity
    attempt: int
    started_time: int
    scheduled_time: int
    heartbeat_details: bytes
    scaling: int = 0  # by how many its worker had better change the number of its polls


@dataclass(slots=True)
class StartedStandaloneActivity:
    """An attempt of a standalone activity that a worker was given."""

    hot: HotActivity
    attempt: int
    started_time: int
    scheduled_time: int
    heartbeat_details: bytes
    scaling: int = 0  # by how many its worker had better change the number of its polls


Given = StartedWorkflowTask | StartedActivity | StartedStandaloneActivity | PendingQuery

STANDALONE = 0
"""In the place of an event's id in the task of a standalone activity: no event has it."""


def as_started(hot: HotRun, *, sticky: bool = False) -> StartedWorkflowTask:
    """The workflow task in flight, as its worker is to see it."""
    execution = hot.execution
    task = execution.workflow_task
    suffix = workflow_task.unwritten_events(execution)
    last_event_id = execution.next_event_id - 1
    first = execution.previous_started_event_id + 1 if sticky else 1
    return StartedWorkflowTask(
        hot=hot,
        scheduled_event_id=task.scheduled_event_id,
        started_event_id=task.started_event_id,
        attempt=task.attempt,
        scheduled_time=task.scheduled_time,
        started_time=task.started_time,
        sticky=sticky,
        previous_started_event_id=execution.previous_started_event_id,
        last_event_id=last_event_id,
        tail=hot.tail_from(first, last_event_id),
        suffix=suffix,
    )
