"""What lists show of a run, from its state."""

from __future__ import annotations

from typing import cast

from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.core import older_versioning, versioning
from cloud.engine.core.clock import LATEST, to_ns
from cloud.engine.core.schedule import Schedule
from cloud.engine.core.state import RUNNING, Execution
from cloud.engine.core.versions import deployment_of
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.rows import schedule_key
from cloud.engine.store.search_attribute_values import encode, indexed, listed
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_attributes import PREDEFINED, AttributeTypes

_BEHAVIORS: dict[int, str] = {versioning.PINNED: "Pinned", versioning.AUTO_UPGRADE: "AutoUpgrade"}


def visibility_row(hot: HotRun) -> VisibilityRow:
    """The row of a run as it is now."""
    execution = hot.execution
    started = execution.started
    closed = not execution.running
    types = attribute_types(hot)
    attributes = search_attributes(execution)
    shown = listed(attributes, types) if attributes.indexed_fields else None
    execution_time = min(execution.start_time + to_ns(started.first_workflow_task_backoff), LATEST)
    parent = started.parent_workflow_execution
    root = started.root_workflow_execution
    return VisibilityRow(
        run_id=execution.key.run_id,
        namespace_id=execution.key.namespace_id,
        workflow_id=execution.key.workflow_id,
        workflow_type=started.workflow_type.name,
        task_queue=started.task_queue.name,
        status=execution.shown_status,
        start_time=execution.start_time,
        execution_time=execution_time,
        close_time=execution.close_time if closed else None,
        history_length=execution.next_event_id - 1 if closed else None,
        history_size_bytes=execution.history_size if closed else None,
        state_transition_count=execution.volatile.transitions if closed else None,
        execution_duration_ns=max(execution.close_time - execution_time, 0) if closed else None,
        parent_workflow_id=parent.workflow_id or None,
        parent_run_id=parent.run_id or None,
        root_workflow_id=root.workflow_id or execution.key.workflow_id,
        root_run_id=root.run_id or execution.key.run_id,
        first_run_id=started.first_execution_run_id,
        memo=Memo(fields=execution.memo).SerializeToString() if execution.memo else None,
        search_attributes=shown.SerializeToString() if shown else None,
        attributes=indexed(attributes, types) if attributes.indexed_fields else None,
    )


def search_attributes(execution: Execution) -> SearchAttributes:
    """The run's search attributes, with those that the service itself sets."""
    attributes = SearchAttributes(indexed_fields=execution.search_attributes)
    _tell_version(execution, attributes)
    checksums = [checksum for checksum, _ in execution.reset_points if checksum]
    if checksums:
        attributes.indexed_fields["BinaryChecksums"].CopyFrom(
            encode(checksums, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST)
        )
    problems = execution.volatile.problems
    if problems is not None and problems.reported:
        attributes.indexed_fields["TemporalReportedProblems"].CopyFrom(
            encode(problems.reported, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST)
        )
    paused = {
        pending.scheduled.activity_type.name
        for pending in execution.activities.values()
        if pending.progress.pause is not None and not pending.closing
    }
    values = []
    if execution.paused is not None:
        values.append(f"Workflow:{execution.key.workflow_id}")
        values.extend([f"Reason:{execution.paused.reason}"] if execution.paused.reason else [])
    if execution.running:
        values.extend(f"property:activityType={name}" for name in sorted(paused))
    if values:
        attributes.indexed_fields["TemporalPauseInfo"].CopyFrom(
            encode(values, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST)
        )
    return attributes


def _tell_version(execution: Execution, attributes: SearchAttributes) -> None:
    """On which version of its workers the run is, in the words that the real server records."""
    behavior = versioning.shown_behavior(execution)
    version = versioning.shown_version(execution)
    build_ids = older_versioning.search_attribute_values(execution)
    if behavior == versioning.PINNED:
        build_ids.insert(0, f"pinned:{version}")
    elif (
        behavior == versioning.UNSPECIFIED
        and execution.completed_workflow_tasks
        and not older_versioning.is_used(execution)
    ):
        build_ids.insert(0, "unversioned")
    values = {
        "TemporalWorkflowVersioningBehavior": _BEHAVIORS.get(behavior, ""),
        "TemporalWorkerDeploymentVersion": version,
        "TemporalWorkerDeployment": deployment_of(version) or execution.deployment_name,
        "TemporalUsedWorkerDeploymentVersions": execution.used_versions,
        "BuildIds": build_ids,
    }
    for name, value in values.items():
        if value:
            attributes.indexed_fields[name].CopyFrom(encode(value, PREDEFINED[name]))


SCHEDULES_OF = "schedules:"
"""Before a namespace's id in the rows of its schedules, so that no list of runs has them."""


def schedule_visibility_row(namespace: Namespace, schedule_id: str, schedule: Schedule) -> VisibilityRow:
    """The row by which lists find a schedule; what they tell of it is read from its own."""
    state, action = schedule.state, schedule.defined.action.start_workflow
    attributes = SearchAttributes.FromString(state.search_attributes)
    attributes.indexed_fields["TemporalSchedulePaused"].CopyFrom(
        encode(schedule.defined.state.paused, IndexedValueType.INDEXED_VALUE_TYPE_BOOL)
    )
    key = schedule_key(namespace.namespace_id, schedule_id)
    return VisibilityRow(
        run_id=key,
        namespace_id=SCHEDULES_OF + namespace.namespace_id,
        workflow_id=schedule_id,
        workflow_type=action.workflow_type.name,
        task_queue=action.task_queue.name,
        status=RUNNING,
        start_time=state.created_at,
        execution_time=state.created_at,
        root_workflow_id=schedule_id,
        root_run_id=key,
        first_run_id=key,
        attributes=indexed(attributes, cast("AttributeTypes", namespace.search_attributes)),
    )


def attribute_types(hot: HotRun) -> AttributeTypes:
    """The types of the namespace's own search attributes."""
    return cast("AttributeTypes", hot.namespace.search_attributes)
