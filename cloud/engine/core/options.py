"""A run's options that people may change while it is open: its priority and its versioning override."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType, VersioningBehavior
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions

from cloud.engine.core import workflow_task
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import RunClosed
from cloud.engine.core.state import Execution, Sticky
from cloud.engine.core.turn import Turn

_E = EventType


def normal(override: VersioningOverride) -> VersioningOverride:
    """An override in today's form: the older one names a behaviour."""
    if override.behavior == VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE:
        return VersioningOverride(auto_upgrade=True)
    return override


def begin(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """The run begins with these options."""
    if attributes.HasField("priority"):
        execution.options.priority.CopyFrom(attributes.priority)
    if attributes.HasField("versioning_override"):
        execution.options.versioning_override.CopyFrom(normal(attributes.versioning_override))
        execution.was_overridden = True


def fold(execution: Execution, event: HistoryEvent) -> None:
    """An event changes the options: from the moment on that it waits in the buffer."""
    attributes = event.workflow_execution_options_updated_event_attributes
    if attributes.unset_versioning_override:
        execution.options.ClearField("versioning_override")
    elif attributes.HasField("versioning_override"):
        execution.options.versioning_override.CopyFrom(attributes.versioning_override)
        execution.was_overridden = True
    if attributes.HasField("priority"):
        execution.options.priority.CopyFrom(attributes.priority)


def inherit(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """What the next run of the chain has of the options: the priority as it is now, and no override that upgrades."""
    attributes.ClearField("versioning_override")
    if execution.options.HasField("priority"):
        attributes.priority.CopyFrom(execution.options.priority)


def update(
    turn: Turn, options: WorkflowExecutionOptions, *, identity: str, meter: str = "update_workflow_options"
) -> None:
    """Make `options` those of the run, all of them. Nothing is written if they are already.

    A priority can be changed but not taken away: as on the real server an event says that it was asked for, and nothing follows.

    Raises:
        RunClosed: it is closed.
    """
    execution = turn.execution
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    wanted = WorkflowExecutionOptions()
    wanted.CopyFrom(options)
    if options.HasField("versioning_override"):
        wanted.versioning_override.CopyFrom(normal(options.versioning_override))
    if wanted == execution.options:
        return
    moved = wanted.priority != execution.options.priority
    overridden = wanted.versioning_override != execution.options.versioning_override
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(
        unset_versioning_override=not wanted.HasField("versioning_override"), identity=identity
    )
    if wanted.HasField("versioning_override"):
        attributes.versioning_override.CopyFrom(wanted.versioning_override)
    if wanted.HasField("priority"):
        attributes.priority.CopyFrom(wanted.priority)
    turn.add(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
            workflow_execution_options_updated_event_attributes=attributes,
            worker_may_ignore=True,
        )
    )
    if meter:
        turn.meter(meter)
    if moved and wanted.HasField("priority"):
        workflow_task.offer_anew(turn)
    if overridden:
        # Which workers may have the next task is open again.
        turn.ask(UpdateVisibility())
        task = execution.workflow_task
        if task.sticky and execution.has_pending_workflow_task and not execution.workflow_task_in_flight:
            workflow_task.leave_sticky(turn)
        else:
            execution.volatile.sticky = Sticky()
