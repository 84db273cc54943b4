"""UpdateWorkflowExecutionOptions: the priority, the versioning override and the time skipping of an open run."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.field_masks import check_paths, paths_of
from cloud.engine.api.versioning_overrides import check_override
from cloud.engine.core import options, versioning
from cloud.engine.core.errors import RunClosed
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn
from cloud.engine.core.versions import message_of
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument

_OVERRIDE_HALVES = frozenset({"versioning_override.deployment", "versioning_override.behavior"})
_PRIORITY = frozenset(
    {"priority", "priority.priority_key", "priority.fairness_key", "priority.fairness_weight"}
)


class WorkflowOptions:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def update_workflow_execution_options(
        self, request: UpdateWorkflowExecutionOptionsRequest, context: CallContext
    ) -> UpdateWorkflowExecutionOptionsResponse:
        """Change what the mask names. The reply tells all options as they are then."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        execution, wanted = request.workflow_execution, request.workflow_execution_options
        checks.require(execution.workflow_id, "WorkflowId")
        if not request.HasField("update_mask"):
            raise InvalidArgument("UpdateMask is required")
        if not request.HasField("workflow_execution_options"):
            raise InvalidArgument("WorkflowExecutionOptions is required")
        try:
            check_paths(wanted, request.update_mask)
        except ValueError as error:
            raise InvalidArgument(f"error parsing UpdateMask: {error}") from None
        check_options(self._runtime, wanted)
        if execution.run_id and not checks.is_uuid(execution.run_id):
            raise InvalidArgument("RunId is not valid UUID.")
        hot = await self._runtime.find(namespace, execution.workflow_id, execution.run_id)
        merged = change_options(self._runtime, hot, wanted, request.update_mask, request.identity)
        await self._runtime.durable(hot)
        return UpdateWorkflowExecutionOptionsResponse(workflow_execution_options=merged)


def check_options(runtime: Runtime, wanted: WorkflowExecutionOptions) -> None:
    """Check what no run can have, and fill in what is left out.

    Raises:
        InvalidArgument: the priority, or the way to skip time, is none.
        Unimplemented: time skipping is asked for, and not allowed here.
    """
    checks.check_priority(wanted.priority)
    checks.check_time_skipping(runtime, wanted)


def change_options(
    runtime: Runtime, hot: HotRun, wanted: WorkflowExecutionOptions, mask: FieldMask, identity: str
) -> WorkflowExecutionOptions:
    """Change what `mask` names of a run's options. Returns all of them; they are not yet durable.

    Raises:
        RunClosed: it is closed.
        InvalidArgument, FailedPrecondition: they can't be.
    """
    execution = hot.execution
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    if wanted.HasField("versioning_override"):
        wanted = _pinned_in_place(execution, wanted)
        check_override(runtime, hot.namespace, wanted.versioning_override, execution.started.task_queue.name)
    paths = paths_of(mask)
    merged = _merged(options.current(execution), wanted, paths)
    anew = _begins_fast_forward(wanted, paths)
    with runtime.transition(hot) as turn:
        options.update(turn, merged, identity=identity, fast_forward=anew)
    if merged.HasField("time_skipping_config"):  # what is left of it: a fast-forward may be over already
        merged.time_skipping_config.CopyFrom(options.current(execution).time_skipping_config)
    return merged


def check_change(
    runtime: Runtime, namespace: Namespace, wanted: WorkflowExecutionOptions, mask: FieldMask, queue: str
) -> None:
    """Check a change that is to be made to a run that is not there yet (`apply_change`); `queue` is its task queue.

    Raises:
        InvalidArgument, FailedPrecondition, Unimplemented: it can't be.
    """
    try:
        check_paths(wanted, mask)
    except ValueError as error:
        raise InvalidArgument(f"error applying update_options: {error}") from None
    check_options(runtime, wanted)
    if wanted.HasField("versioning_override"):
        check_override(runtime, namespace, wanted.versioning_override, queue)
    _merged(WorkflowExecutionOptions(), wanted, paths_of(mask))


def apply_change(turn: Turn, wanted: WorkflowExecutionOptions, mask: FieldMask) -> None:
    """Change what `mask` names of a run's options, as a part of something that is counted by itself."""
    paths = paths_of(mask)
    options.update(
        turn,
        _merged(options.current(turn.execution), wanted, paths),
        identity="",
        meter="",
        fast_forward=_begins_fast_forward(wanted, paths),
    )


def _begins_fast_forward(wanted: WorkflowExecutionOptions, paths: set[str]) -> bool:
    return "time_skipping_config" in paths and wanted.time_skipping_config.HasField("fast_forward_config")


def _pinned_in_place(execution: Execution, wanted: WorkflowExecutionOptions) -> WorkflowExecutionOptions:
    """A pin without a version means the version that the workflow is pinned to.

    Raises:
        FailedPrecondition: it is pinned to none.
    """
    override = wanted.versioning_override
    if not override.pinned.behavior or override.pinned.HasField("version"):
        return wanted
    behavior = versioning.effective_behavior(execution)
    if behavior != versioning.PINNED:
        upgrades = behavior == versioning.AUTO_UPGRADE
        raise FailedPrecondition(
            "must specify a specific pinned override version because workflow with id "
            f"{execution.key.workflow_id} has behavior {'AutoUpgrade' if upgrades else 'Unspecified'} "
            "and is not yet pinned to any version"
        )
    named = WorkflowExecutionOptions()
    named.CopyFrom(wanted)
    version = message_of(versioning.effective_version(execution))
    named.versioning_override.pinned.version.CopyFrom(version)  # type: ignore[arg-type]
    return named


def _merged(
    current: WorkflowExecutionOptions, wanted: WorkflowExecutionOptions, paths: set[str]
) -> WorkflowExecutionOptions:
    halves = paths & _OVERRIDE_HALVES
    if len(halves) == 1:
        raise InvalidArgument(
            "error applying update_options: versioning_override fields must be updated together"
        )
    for whole in ("versioning_override", "time_skipping_config"):
        if any(path.startswith(f"{whole}.") for path in paths - _OVERRIDE_HALVES):
            also = "updates" if whole == "versioning_override" else "update"
            raise InvalidArgument(f"error applying update_options: {whole} doesn't support partial {also}")
    merged = WorkflowExecutionOptions()
    merged.CopyFrom(current)
    kept = paths & _PRIORITY
    if "versioning_override" in paths or halves:
        kept.add("versioning_override")
    if "time_skipping_config" in paths:
        kept.add("time_skipping_config")
    FieldMask(paths=sorted(kept)).MergeMessage(wanted, merged, True, True)
    return merged
