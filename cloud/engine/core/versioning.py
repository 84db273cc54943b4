"""The version of workers that a run is on: what its workers say, what people override, and its moves from one to another.

A worker of a versioned deployment says with each completed workflow task whether the run is *pinned* to its version or upgrades by
itself. An upgrading run moves when a worker of another version takes its task: until that one completes a task the run is in
transition, its activities wait. What the history does not tell of it is ``state.VersionProgress``.

A version is the text of ``versions.version_of``, "" for workers without one.
"""

from __future__ import annotations

from typing import NamedTuple

from temporalio.api.deployment.v1 import InheritedAutoUpgradeInfo
from temporalio.api.enums.v1 import ContinueAsNewVersioningBehavior, VersioningBehavior
from temporalio.api.history.v1 import (
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
)
from temporalio.api.workflow.v1 import VersioningOverride

from cloud.engine.core.errors import NoSuchTask
from cloud.engine.core.state import Execution, Sticky, VersionProgress
from cloud.engine.core.turn import Surroundings, Turn
from cloud.engine.core.versions import deployment_of, from_older, message_of, version_of

UNSPECIFIED = VersioningBehavior.VERSIONING_BEHAVIOR_UNSPECIFIED
PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
AUTO_UPGRADE = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE

_ON_RAMPING = ContinueAsNewVersioningBehavior.CONTINUE_AS_NEW_VERSIONING_BEHAVIOR_USE_RAMPING_VERSION


class Taker(NamedTuple):
    """With what a worker takes a task: its own version, the revision of the routing that gave it the task, and whom the routing
    names for what is not pinned. Who takes the next task with its answer did not ask the routing: its `target_revision` is -1.

    `build` is the build id to which an older form's rules lead the task (``older_versioning``), "" without any."""

    version: str = ""
    revision: int = 0
    target: str = ""
    target_revision: int = 0
    build: str = ""


UNVERSIONED = Taker()


# --- what holds now ----------------------------------------------------------------------------------------------


def target_of(override: VersioningOverride) -> str:
    """The version that an override (in today's form) names, "" for none."""
    which = override.WhichOneof("override")
    if which == "pinned":
        return version_of(override.pinned.version)
    return version_of(override.one_time.target_deployment_version) if which == "one_time" else ""


def _override(execution: Execution) -> VersioningOverride | None:
    if execution.was_overridden and execution.options.HasField("versioning_override"):
        return execution.options.versioning_override
    return None


def transition_of(execution: Execution) -> str | None:
    """The version that the run is moving to, None if it is not."""
    progress = execution.volatile.version_progress
    return None if progress is None else progress.transition


def revision_of(execution: Execution) -> int:
    """The revision of the routing by which the run came to its version."""
    progress = execution.volatile.version_progress
    return 0 if progress is None else progress.revision


def shown_behavior(execution: Execution) -> int:
    """The run's VersioningBehavior, transitions aside."""
    override = _override(execution)
    if override is not None:
        return AUTO_UPGRADE if override.auto_upgrade else PINNED
    return execution.behavior


def effective_behavior(execution: Execution) -> int:
    """The VersioningBehavior by which the run's tasks are given to workers."""
    return AUTO_UPGRADE if transition_of(execution) is not None else shown_behavior(execution)


def effective_version(execution: Execution) -> str:
    """The version whose workers the run's tasks are for, by the run alone."""
    transition = transition_of(execution)
    if transition is not None:
        return transition
    override = _override(execution)
    if override is not None:
        return target_of(override) or execution.version
    return execution.version


def shown_version(execution: Execution) -> str:
    """The version that lists show, transitions aside."""
    override = _override(execution)
    return (target_of(override) if override is not None else "") or execution.version


def is_plain(execution: Execution) -> bool:
    """Whether the run has nothing to do with versions, as nearly all: then no other function here need be asked."""
    return (
        not execution.behavior
        and not execution.was_overridden
        and execution.volatile.version_progress is None
    )


def standing(execution: Execution) -> tuple[int, str, str | None]:
    """All that decides who gets the run's tasks, to be compared before and after a change."""
    return (
        effective_behavior(execution),
        effective_version(execution),
        transition_of(execution),
    )


def starts_on_ramping(execution: Execution) -> bool:
    """Whether the run, before its first completed task, wants the ramping version whatever its share."""
    return execution.initial_behavior == _ON_RAMPING and not execution.completed_workflow_tasks


def _progress(execution: Execution) -> VersionProgress:
    progress = execution.volatile.version_progress
    if progress is None:
        progress = execution.volatile.version_progress = VersionProgress()
    return progress


# --- folding -----------------------------------------------------------------------------------------------------


def begin(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """The run begins with what it inherits."""
    if attributes.HasField("inherited_pinned_version"):
        execution.version = version_of(attributes.inherited_pinned_version)
        execution.behavior = PINNED
        if attributes.continued_execution_run_id and attributes.HasField("declined_target_version_upgrade"):
            declined = attributes.declined_target_version_upgrade
            progress = _progress(execution)
            progress.declined = version_of(declined.deployment_version)
            progress.declined_revision = declined.revision_number
    if attributes.HasField("inherited_auto_upgrade_info"):
        info = attributes.inherited_auto_upgrade_info
        execution.version = version_of(info.source_deployment_version)
        execution.behavior = AUTO_UPGRADE
        execution.initial_behavior = info.continue_as_new_initial_versioning_behavior
        _progress(execution).revision = info.source_deployment_revision_number
    execution.deployment_name = deployment_of(effective_version(execution))


def fold_completed(execution: Execution, attributes: WorkflowTaskCompletedEventAttributes) -> None:
    """A worker completed a task: it says on which version, and how the run behaves from now on."""
    version = version_of(attributes.deployment_version)
    if not version and attributes.worker_deployment_version:
        version = from_older(attributes.worker_deployment_version)
    execution.deployment_name = attributes.worker_deployment_name
    progress = execution.volatile.version_progress
    if progress is not None and progress.transition == version:
        progress.transition = None
    execution.behavior = attributes.versioning_behavior
    execution.version = version if execution.behavior else ""
    override = _override(execution)
    if (
        override is not None
        and version
        and version == version_of(override.one_time.target_deployment_version)
    ):
        execution.options.ClearField("versioning_override")
    if version and version not in execution.used_versions:
        execution.used_versions.append(version)


def fold_override(execution: Execution) -> None:
    """The override changed."""
    override = _override(execution)
    target = target_of(override) if override is not None else ""
    if target or override is None:
        execution.deployment_name = deployment_of(target or execution.version)


# --- a worker takes a task ---------------------------------------------------------------------------------------


def target_changed(execution: Execution) -> bool:
    """Whether the workflow task that starts tells its pinned worker that the routing names another version."""
    progress = execution.volatile.version_progress
    return progress is not None and progress.notified is not None and effective_behavior(execution) == PINNED


def note_target(execution: Execution, taker: Taker) -> None:
    """Before a workflow task starts: is its worker, if the run is pinned, to be told that the routing names another version?

    Not again what was declined by going on in a new run, and not while an override says where the run is to be.
    """
    behavior = effective_behavior(execution)
    if behavior == UNSPECIFIED:
        return
    progress = execution.volatile.version_progress
    if _override(execution) is not None:
        if progress is not None:
            progress.notified = progress.declined = None
        return
    if behavior == AUTO_UPGRADE:
        return
    known = max(
        progress.notified_revision if progress is not None and progress.notified is not None else 0,
        progress.declined_revision if progress is not None and progress.declined is not None else 0,
    )
    if taker.target == effective_version(execution) and taker.target_revision >= known:
        if progress is not None:
            progress.notified = progress.declined = None
        return
    has_declined = progress is not None and progress.declined is not None
    if has_declined and progress is not None and taker.target_revision <= progress.declined_revision:
        return
    if taker.target_revision < known:
        return
    progress = _progress(execution)
    progress.notified, progress.notified_revision = taker.target, taker.target_revision
    progress.declined = None


def check_taker(execution: Execution, version: str) -> None:
    """Check that workers of `version` may have a task of the run.

    Raises:
        NoSuchTask: it is pinned to another version.
    """
    if effective_behavior(execution) == PINNED and effective_version(execution) != version:
        raise NoSuchTask("the workflow is pinned to another version of its workers")


def take(turn: Turn, taker: Taker) -> None:
    """A worker of another version than the run's took its workflow task: the run is in transition to that version."""
    execution = turn.execution
    if taker.version == effective_version(execution) or effective_behavior(execution) == PINNED:
        return
    begin_transition(turn, taker.version, taker.revision)


def begin_transition(turn: Turn, version: str, revision: int) -> None:
    """The run moves to `version`, by this revision of the routing."""
    execution = turn.execution
    progress = _progress(execution)
    progress.transition, progress.revision = version, revision
    execution.volatile.sticky = Sticky()
    turn.dirty = True


def abandon_transition(execution: Execution) -> None:
    """An override says where the run is to be: it does not move any more."""
    progress = execution.volatile.version_progress
    if progress is not None:
        progress.transition = None


# --- what the next run, or a child, has of it --------------------------------------------------------------------


def _is_pinned(override: VersioningOverride | None) -> bool:
    return override is not None and override.WhichOneof("override") == "pinned"


def _forget(attributes: WorkflowExecutionStartedEventAttributes) -> None:
    for name in (
        "versioning_override",
        "inherited_pinned_version",
        "inherited_auto_upgrade_info",
        "declined_target_version_upgrade",
    ):
        attributes.ClearField(name)


def _upgrade_info(
    execution: Execution, version: str, initial_behavior: int
) -> InheritedAutoUpgradeInfo | None:
    revision = revision_of(execution)
    if not version or not revision:
        return None
    return InheritedAutoUpgradeInfo(
        source_deployment_version=message_of(version),
        source_deployment_revision_number=revision,
        continue_as_new_initial_versioning_behavior=ContinueAsNewVersioningBehavior.ValueType(
            initial_behavior
        ),
    )


def pass_on(
    execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, *, retried: bool
) -> None:
    """What the run after `execution` (cron, or a retry if `retried`) has of it: a pin from outside, and in a retry what it inherited."""
    declined = None
    if attributes.HasField("declined_target_version_upgrade"):
        declined = attributes.declined_target_version_upgrade
    inherited = attributes.HasField("inherited_pinned_version")
    override = _override(execution)
    behavior, version = effective_behavior(execution), effective_version(execution)
    kept = WorkflowExecutionStartedEventAttributes()
    if _is_pinned(override):
        kept.versioning_override.CopyFrom(override)  # type: ignore[arg-type]
    if declined is not None:
        kept.declined_target_version_upgrade.CopyFrom(declined)
    if retried and behavior == PINNED and inherited:
        kept.inherited_pinned_version.CopyFrom(message_of(version))  # type: ignore[arg-type]
    elif retried and behavior == AUTO_UPGRADE:
        info = _upgrade_info(execution, version, execution.initial_behavior)
        if info is not None:
            kept.inherited_auto_upgrade_info.CopyFrom(info)
    _forget(attributes)
    attributes.MergeFrom(kept)


def pass_on_continued(
    execution: Execution,
    attributes: WorkflowExecutionStartedEventAttributes,
    initial_behavior: int,
    around: Surroundings,
) -> None:
    """What the run that `execution` continues in has of it, if its queue is one of the version's."""
    behavior, version = effective_behavior(execution), effective_version(execution)
    override = _override(execution)
    _forget(attributes)
    if behavior == UNSPECIFIED and override is None:
        return
    queue = attributes.task_queue.name
    here = queue == execution.started.task_queue.name or around.polls(queue, version)
    if not here:
        return
    if _is_pinned(override):
        attributes.versioning_override.CopyFrom(override)  # type: ignore[arg-type]
    if behavior == PINNED and not initial_behavior:
        attributes.inherited_pinned_version.CopyFrom(message_of(version))  # type: ignore[arg-type]
        progress = execution.volatile.version_progress
        if progress is not None:
            told = progress.notified is not None
            declined = progress.notified if told else progress.declined
            if declined is not None:
                upgrade = attributes.declined_target_version_upgrade
                upgrade.revision_number = progress.notified_revision if told else progress.declined_revision
                if declined:
                    upgrade.deployment_version.CopyFrom(message_of(declined))  # type: ignore[arg-type]
        return
    info = _upgrade_info(execution, version, initial_behavior)
    if info is not None:
        attributes.inherited_auto_upgrade_info.CopyFrom(info)


def pass_to_child(
    execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, around: Surroundings
) -> None:
    """What a child of `execution` has of it, if its queue is one of the version's and it brings no override of its own."""
    if attributes.HasField("versioning_override"):
        return
    behavior, version = effective_behavior(execution), effective_version(execution)
    if behavior == UNSPECIFIED:
        return
    queue = attributes.task_queue.name
    if queue != execution.started.task_queue.name and not around.polls(queue, version):
        return
    override = _override(execution)
    if override is not None and target_of(override):
        attributes.versioning_override.CopyFrom(override)
    if behavior == PINNED:
        attributes.inherited_pinned_version.CopyFrom(message_of(version))  # type: ignore[arg-type]
        return
    info = _upgrade_info(execution, version, 0)
    if info is not None:
        attributes.inherited_auto_upgrade_info.CopyFrom(info)
