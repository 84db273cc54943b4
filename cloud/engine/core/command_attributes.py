"""Each command comes with the attributes of its type. The sentences are the real server's."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause

from cloud.engine.core.errors import BadCommand

_T = CommandType
_C = WorkflowTaskFailedCause

_CAUSES: Mapping[CommandType.ValueType, WorkflowTaskFailedCause.ValueType] = {
    _T.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
    _T.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_START_TIMER: _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES,
    _T.COMMAND_TYPE_CANCEL_TIMER: _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES,
    _T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_RECORD_MARKER: _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES,
    _T.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: (_C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES),
    _T.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_PROTOCOL_MESSAGE: _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE,
    _T.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES
    ),
    _T.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION: (
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_NEXUS_OPERATION_ATTRIBUTES
    ),
}

_NAMES = {kind: CommandType.Name(kind).removeprefix("COMMAND_TYPE_") for kind in _CAUSES}
_FIELDS = {kind: f"{name.lower()}_command_attributes" for kind, name in _NAMES.items()}

_OWN_SENTENCES = {
    _T.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION: "empty ScheduleNexusOperationCommandAttributes",
    _T.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION: "empty CancelNexusOperationCommandAttributes",
}


def known(command: Command) -> bool:
    """Whether there are commands of its type."""
    return command.command_type in _CAUSES


def check(command: Command) -> None:
    """Check that a command of a known type has that type's attributes.

    Raises:
        BadCommand: it has none, or those of another type.
    """
    kind = command.command_type
    if command.WhichOneof("attributes") == _FIELDS[kind]:
        return
    name = "".join(part.capitalize() for part in _NAMES[kind].split("_"))
    sentence = f"{name}CommandAttributes is not set on {name}Command."
    raise BadCommand(_CAUSES[kind], _OWN_SENTENCES.get(kind, sentence))
