"""The build id by which the two older forms of worker versioning give a run's tasks to workers.

By *sets*, a run stays with build ids that are compatible with the one that completed its last workflow task: its *stamp*. By *rules*, a
run is *assigned* a build id, which redirects may change for another; each change counts, so that a replay knows the last one. Neither
has a place where worker deployments have theirs: a run whose workers say how it behaves is theirs alone.

Nearly all runs have nothing of it: their ``Volatile.builds`` is None.
"""

from __future__ import annotations

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.history.v1 import (
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
)

from cloud.engine.core import versioning
from cloud.engine.core.errors import NoSuchTask
from cloud.engine.core.state import Activity, BuildProgress, Execution, Sticky

TO_BE_ASSIGNED = ""
"""In the place of a build id: the queue's rules, or its default set, say which it is."""

BEFORE_MAX = 10
"""Build ids that a run was assigned to and that no worker of took a task of it: lists show the last ones."""


# --- what holds now ----------------------------------------------------------------------------------------------


def assigned_to(execution: Execution) -> str:
    """The build id that the run is assigned to by rules, "" for none."""
    builds = execution.volatile.builds
    return "" if builds is None else builds.assigned


def stamp_of(execution: Execution) -> str:
    """The build id that completed the last workflow task, "" if that worker did not use versioning."""
    builds = execution.volatile.builds
    return "" if builds is None else builds.stamp


def is_used(execution: Execution) -> bool:
    """Whether the run's workers use one of the older forms."""
    builds = execution.volatile.builds
    return builds is not None and bool(builds.assigned or builds.stamp)


def of_workflow_tasks(execution: Execution) -> str | None:
    """The build id that the run's workflow tasks are for, or `TO_BE_ASSIGNED`; None: workers without versioning."""
    builds = execution.volatile.builds
    if builds is not None and builds.stamp and not builds.assigned:
        return builds.stamp
    if not execution.completed_workflow_tasks and not execution.started.inherited_build_id:
        return TO_BE_ASSIGNED
    return builds.assigned or None if builds is not None else None


def of_activity(execution: Execution, pending: Activity) -> str | None:
    """The same of an activity: one that is not bound to its workflow's build id is on its own."""
    if not pending.scheduled.use_workflow_build_id:
        return TO_BE_ASSIGNED
    builds = execution.volatile.builds
    return builds.assigned or builds.stamp or None if builds is not None else None


def search_attribute_values(execution: Execution) -> list[str]:
    """The run's build ids as lists show them."""
    builds = execution.volatile.builds
    values = [f"unversioned:{build_id}" for build_id in execution.build_ids]
    if builds is None:
        return values
    used = dict.fromkeys([*builds.before, *execution.versioned_build_ids])
    if builds.assigned:
        values.insert(0, f"assigned:{builds.assigned}")
        used[builds.assigned] = None
    return [*values, *(f"versioned:{build_id}" for build_id in used)]


# --- folding -----------------------------------------------------------------------------------------------------


def _progress(execution: Execution) -> BuildProgress:
    builds = execution.volatile.builds
    if builds is None:
        builds = execution.volatile.builds = BuildProgress()
    return builds


def _note_used(execution: Execution, build_id: str) -> None:
    if build_id not in execution.versioned_build_ids:
        execution.versioned_build_ids.append(build_id)


def begin(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """The run begins with what it inherits."""
    if attributes.inherited_build_id:
        assign(execution, attributes.inherited_build_id)
        _note_used(execution, attributes.inherited_build_id)
    elif attributes.source_version_stamp.use_versioning and attributes.source_version_stamp.build_id:
        _progress(execution).stamp = attributes.source_version_stamp.build_id
        _note_used(execution, attributes.source_version_stamp.build_id)


def fold_started(execution: Execution, stamp: WorkerVersionStamp, redirects: int) -> None:
    """A worker took a workflow task of the run, or an activity that is bound to its build id."""
    if not stamp.use_versioning or not stamp.build_id:
        return
    builds = execution.volatile.builds
    if not redirects or builds is None or builds.redirects < redirects:
        assign(execution, stamp.build_id, redirects)
    # Else a later one came first: activities' starts are written when they end.
    _note_used(execution, stamp.build_id)


def fold_completed(execution: Execution, attributes: WorkflowTaskCompletedEventAttributes) -> None:
    """A worker completed a workflow task."""
    stamp = attributes.worker_version
    if stamp.use_versioning and stamp.build_id:
        _note_used(execution, stamp.build_id)
        _progress(execution).stamp = stamp.build_id
        return
    if stamp.build_id and stamp.build_id not in execution.build_ids:
        execution.build_ids.append(stamp.build_id)
    if execution.volatile.builds is not None:
        execution.volatile.builds.stamp = ""


# --- a worker takes a task ---------------------------------------------------------------------------------------


def assign(execution: Execution, build_id: str, redirects: int = 0) -> bool:
    """The run is assigned to `build_id` from now on. Returns whether it was not."""
    builds = _progress(execution)
    builds.redirects = max(builds.redirects, redirects)
    if builds.assigned == build_id:
        return False
    if builds.assigned and builds.assigned not in (*builds.before, *execution.versioned_build_ids):
        builds.before = [*builds.before, builds.assigned][-BEFORE_MAX:]
    builds.assigned = build_id
    execution.volatile.sticky = Sticky()
    return True


def remember(execution: Execution, values: list[str]) -> None:
    """What `search_attribute_values` told of the run elsewhere."""
    builds = _progress(execution)
    told = [value.removeprefix("versioned:") for value in values if value.startswith("versioned:")]
    known = (builds.assigned, *execution.versioned_build_ids)
    builds.before = [each for each in told if each not in known][-BEFORE_MAX:]


def redirects_with(execution: Execution, build_id: str) -> int:
    """How often the run will have been redirected once a worker of `build_id` has its task."""
    builds = execution.volatile.builds
    if not build_id or builds is None:
        return 0
    if builds.assigned == build_id or (not builds.assigned and not execution.completed_workflow_tasks):
        return builds.redirects
    return builds.redirects + 1


def check_taker(execution: Execution, build_id: str, *, by_sticky: bool = False) -> None:
    """Check that a worker of `build_id`, "" for one without versioning, may have a workflow task of the run.

    Raises:
        NoSuchTask: the run is assigned to another, and this one does not know its redirects.
    """
    if not build_id and not by_sticky and assigned_to(execution) and execution.completed_workflow_tasks:
        raise NoSuchTask("the workflow is assigned to a build id of its workers")


# --- what the next run, or a child, has of it --------------------------------------------------------------------


def _inherit(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """What follows stays with the run's build id."""
    builds = execution.volatile.builds
    if builds is None or versioning.effective_behavior(execution) != versioning.UNSPECIFIED:
        return
    if builds.assigned:
        attributes.inherited_build_id = builds.assigned
    elif builds.stamp:
        attributes.source_version_stamp.build_id = builds.stamp
        attributes.source_version_stamp.use_versioning = True


def pass_on(
    execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, *, retried: bool
) -> None:
    """What the run after `execution` (cron, or a retry if `retried`) has of it: what it inherited itself, by sets a retry its stamp."""
    attributes.ClearField("source_version_stamp")
    if retried and not assigned_to(execution):
        inherited = attributes.inherited_build_id
        _inherit(execution, attributes)
        attributes.inherited_build_id = inherited


def pass_to_next(
    execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, *, inherit: bool
) -> None:
    """What the run that `execution` continues in, or a child, has of it, if it is to `inherit` the build id."""
    attributes.ClearField("source_version_stamp")
    attributes.inherited_build_id = ""
    if inherit:
        _inherit(execution, attributes)
