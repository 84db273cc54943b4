"""What a start of a batch operation must look like. The sentences are the real server's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.api.enums.v1 import ExecutionType, ResetType
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest

from cloud.engine.api import checks, workflow_options
from cloud.engine.core import enum_names
from cloud.engine.runtime.dynamic_config import STANDALONE_ACTIVITIES, STANDALONE_ACTIVITY_BATCHES
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import InvalidArgument

_TYPE_OR_ALL = "Either activity type must be set, or match all should be set to true"
OF_STANDALONE_ACTIVITIES = frozenset(
    {"cancel_activities_operation", "terminate_activities_operation", "delete_activities_operation"}
)
"""Operations that are for standalone activities; all others are for workflows."""


def operation_of(request: StartBatchOperationRequest) -> str:
    """The name of the operation that a request asks for, empty if it has none."""
    return request.WhichOneof("operation") or ""


def type_of(which: str) -> ExecutionType.ValueType:
    """What an operation is for."""
    if which in OF_STANDALONE_ACTIVITIES:
        return ExecutionType.EXECUTION_TYPE_ACTIVITY
    return ExecutionType.EXECUTION_TYPE_WORKFLOW


def check_start(request: StartBatchOperationRequest, runtime: Runtime) -> None:
    """Check a request.

    Raises:
        InvalidArgument: it is none that could be carried out.
    """
    which = operation_of(request)
    if which in OF_STANDALONE_ACTIVITIES and not batches_of_activities(runtime):
        raise InvalidArgument(
            f"The operation type {_operation_type(which)} is not supported for this namespace"
        )
    selectors = sum(map(bool, (request.visibility_query, request.executions, request.target_executions)))
    if not which or not request.reason or not selectors:
        raise InvalidArgument(
            "must provide required parameters: BatchType,Reason,Namespace, "
            "AND one of (Query OR Executions OR TargetExecutions)"
        )
    checks.require(request.job_id, "JobId")
    checks.check_id_length(request.job_id, "JobId", runtime.limits)
    if selectors > 1:
        raise InvalidArgument("visibility query, executions, and target executions are mutually exclusive")
    for index, execution in enumerate(request.target_executions):
        if execution.type != type_of(which):
            raise InvalidArgument(
                f"target_executions[{index}] has type {_type_name(execution.type)}, but operation "
                f"{_operation_type(which)} requires {_type_name(type_of(which))}"
            )
    check = _CHECKS.get(which)
    if check is not None:
        check(getattr(request, which), runtime)


def batches_of_activities(runtime: Runtime) -> bool:
    """Whether batch operations on standalone activities are served."""
    config = runtime.dynamic_config
    return config.on(STANDALONE_ACTIVITIES) and config.on(STANDALONE_ACTIVITY_BATCHES)


def _type_name(kind: ExecutionType.ValueType) -> str:
    return enum_names.camel(ExecutionType, kind, "EXECUTION_TYPE_")


def _operation_type(which: str) -> str:
    operation = "".join(part.title() for part in which.split("_"))
    return f"*workflowservice.StartBatchOperationRequest_{operation}"


def _check_signal(operation: Any, runtime: Runtime) -> None:
    if not operation.signal:
        raise InvalidArgument("must provide signal name")
    checks.check_id_length(operation.signal, "signal name", runtime.limits)
    checks.check_blob(operation.input, "signal input", runtime.limits)


def _check_termination(operation: Any, runtime: Runtime) -> None:
    checks.check_blob(operation.details, "details", runtime.limits)


def _check_reset(operation: Any, runtime: Runtime) -> None:
    if operation.HasField("options"):
        if operation.options.WhichOneof("target") is None:
            raise InvalidArgument("batch reset missing target")
    elif operation.reset_type not in ResetType.values() or not operation.reset_type:
        raise InvalidArgument(
            "unknown batch reset type "
            + ("Unspecified" if not operation.reset_type else str(operation.reset_type))
        )


def _check_filter(operation: Any, sentence: str) -> None:
    which = operation.WhichOneof("activity")
    if which is None:
        raise InvalidArgument(sentence)
    if not getattr(operation, which):
        raise InvalidArgument(_TYPE_OR_ALL)


def _check_activity_options(operation: Any, runtime: Runtime) -> None:
    given = operation.HasField("activity_options")
    if given and operation.restore_original:
        raise InvalidArgument("cannot set both activity options and restore original")
    if not given and not operation.restore_original:
        raise InvalidArgument("Either activity type must be set, or restore original should be set to true")
    _check_filter(operation, _TYPE_OR_ALL)
    checks.check_priority(operation.activity_options.priority)


def _check_workflow_options(operation: Any, runtime: Runtime) -> None:
    if not operation.HasField("workflow_execution_options"):
        raise InvalidArgument("must provide UpdateOptions")
    if not operation.HasField("update_mask"):
        raise InvalidArgument("must provide UpdateMask")
    workflow_options.check_options(runtime, operation.workflow_execution_options)


_CHECKS: dict[str, Callable[[Any, Runtime], None]] = {
    "signal_operation": _check_signal,
    "termination_operation": _check_termination,
    "reset_operation": _check_reset,
    "unpause_activities_operation": lambda o, _: _check_filter(o, "activity filter must be set"),
    "reset_activities_operation": lambda o, _: _check_filter(o, "must provide ActivityType or MatchAll"),
    "update_activity_options_operation": _check_activity_options,
    "update_workflow_options_operation": _check_workflow_options,
}
