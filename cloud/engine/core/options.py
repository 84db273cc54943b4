"""A run's options that people may change while it is open: its priority and its versioning override."""

from __future__ import annotations

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import EventType, VersioningBehavior
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions

from cloud.engine.core import activity, run_clock, versioning, workflow_task
from cloud.engine.core.clock import to_ns
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import RunClosed
from cloud.engine.core.state import Execution, Sticky
from cloud.engine.core.turn import Turn
from cloud.engine.core.versions import from_older, message_of

_E = EventType


def normal(override: VersioningOverride) -> VersioningOverride:
    """An override in today's form: the older ones name a behaviour, and a version as a text or as a deployment."""
    if override.WhichOneof("override") is not None:
        return override
    if override.behavior == VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE:
        return VersioningOverride(auto_upgrade=True)
    if override.pinned_version:
        version = message_of(from_older(override.pinned_version))
    else:
        version = WorkerDeploymentVersion(
            deployment_name=override.deployment.series_name, build_id=override.deployment.build_id
        )
    return VersioningOverride(
        pinned=VersioningOverride.PinnedOverride(
            behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED, version=version
        )
    )


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
    if attributes.unset_versioning_override or attributes.HasField("versioning_override"):
        versioning.fold_override(execution)
    if attributes.HasField("priority"):
        execution.options.priority.CopyFrom(attributes.priority)
    if attributes.time_skipping_config_updated:
        given = attributes.HasField("time_skipping_config")
        run_clock.change(
            execution, attributes.time_skipping_config if given else None, to_ns(event.event_time)
        )


def current(execution: Execution) -> WorkflowExecutionOptions:
    """All options as they are in effect."""
    found = WorkflowExecutionOptions()
    found.CopyFrom(execution.options)
    if execution.clock is not None and execution.clock.config is not None:
        found.time_skipping_config.CopyFrom(execution.clock.config)
    return found


def inherit(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """What the next run of the chain has of the options: the priority as it is now."""
    if execution.options.HasField("priority"):
        attributes.priority.CopyFrom(execution.options.priority)


def update(
    turn: Turn,
    options: WorkflowExecutionOptions,
    *,
    identity: str,
    meter: str = "update_workflow_options",
    fast_forward: bool = False,
) -> None:
    """Make `options` those of the run, all of them. Nothing is written if they are already, but for a `fast_forward`: it begins anew.

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
    before = current(execution)
    skipping = fast_forward or wanted.time_skipping_config != before.time_skipping_config
    if wanted == before and not skipping:
        return
    moved = wanted.priority != execution.options.priority
    stood = versioning.standing(execution)
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(
        unset_versioning_override=not wanted.HasField("versioning_override"), identity=identity
    )
    if wanted.HasField("versioning_override"):
        attributes.versioning_override.CopyFrom(wanted.versioning_override)
    if wanted.HasField("priority"):
        attributes.priority.CopyFrom(wanted.priority)
    if wanted.HasField("time_skipping_config"):
        attributes.time_skipping_config.CopyFrom(wanted.time_skipping_config)
    attributes.time_skipping_config_updated = skipping
    turn.add(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
            workflow_execution_options_updated_event_attributes=attributes,
            worker_may_ignore=True,
        )
    )
    if meter:
        turn.meter(meter)
    run_clock.note(execution)
    if versioning.standing(execution) != stood:
        _settle_anew(turn)
    elif moved and wanted.HasField("priority"):
        workflow_task.offer_anew(turn)


def _settle_anew(turn: Turn) -> None:
    """Which workers may have the next tasks is open again: those that wait are offered anew."""
    execution = turn.execution
    versioning.abandon_transition(execution)
    turn.ask(UpdateVisibility())
    execution.volatile.sticky = Sticky()
    execution.workflow_task.sticky = False
    workflow_task.offer_anew(turn)
    activity.offer_anew(turn)
