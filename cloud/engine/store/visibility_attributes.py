"""The search attributes that every namespace has, and how a name in a filter finds its attribute.

Three kinds, as the server of 1.32 lists them (``temporal operator search-attribute list``): *system* ones are
columns of the visibility row, *predefined* ones live among the row's attribute values and mostly are set by
the service, *custom* ones are defined per namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from temporalio.api.enums.v1 import IndexedValueType

AttributeTypes: TypeAlias = Mapping[str, IndexedValueType.ValueType]
"""The types of a namespace's custom search attributes, by name."""

KEYWORD: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
TEXT: Final = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
INT: Final = IndexedValueType.INDEXED_VALUE_TYPE_INT
DOUBLE: Final = IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE
BOOL: Final = IndexedValueType.INDEXED_VALUE_TYPE_BOOL
DATETIME: Final = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
KEYWORD_LIST: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST

TYPE_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        KEYWORD: "Keyword",
        TEXT: "Text",
        INT: "Int",
        DOUBLE: "Double",
        BOOL: "Bool",
        DATETIME: "Datetime",
        KEYWORD_LIST: "KeywordList",
    }
)
"""A type's name in payload metadata and in sentences."""

SYSTEM_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "WorkflowId": "workflow_id",
        "RunId": "run_id",
        "WorkflowType": "workflow_type",
        "StartTime": "start_time",
        "ExecutionTime": "execution_time",
        "CloseTime": "close_time",
        "ExecutionStatus": "status",
        "TaskQueue": "task_queue",
        "HistoryLength": "history_length",
        "HistorySizeBytes": "history_size_bytes",
        "ExecutionDuration": "execution_duration_ns",
        "StateTransitionCount": "state_transition_count",
        "ParentWorkflowId": "parent_workflow_id",
        "ParentRunId": "parent_run_id",
        "RootWorkflowId": "root_workflow_id",
        "RootRunId": "root_run_id",
    }
)
"""The column of the visibility table that holds each system attribute."""

ACTIVITY_STATUS: Final = "ActivityExecutionStatus"
"""What the status of a standalone activity is stored under; callers call it ExecutionStatus."""

OPERATION_STATUS: Final = "NexusOperationExecutionStatus"
"""What the status of a standalone Nexus operation is stored under; callers call it ExecutionStatus."""

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {**SYSTEM_COLUMNS, ACTIVITY_STATUS: "status", OPERATION_STATUS: "status"}
)
"""The column of each attribute that has one."""

SYSTEM: Final[AttributeTypes] = MappingProxyType(
    {
        **dict.fromkeys(SYSTEM_COLUMNS, KEYWORD),
        "StartTime": DATETIME,
        "ExecutionTime": DATETIME,
        "CloseTime": DATETIME,
        "HistoryLength": INT,
        "HistorySizeBytes": INT,
        "ExecutionDuration": INT,
        "StateTransitionCount": INT,
    }
)

_NOTHING: Final = "ParentWorkflowId"
"""A column in which activities and Nexus operations have no value."""

_ACTIVITY_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ActivityId": "WorkflowId",
        "WorkflowId": "WorkflowId",
        "ActivityType": "WorkflowType",
        "WorkflowType": _NOTHING,
        "ExecutionStatus": ACTIVITY_STATUS,
        "HistoryLength": _NOTHING,
        "RootWorkflowId": _NOTHING,
        "RootRunId": _NOTHING,
    }
)
"""Where the rows of activities have what a caller names otherwise, or what no activity has."""

_OPERATION_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "OperationId": "WorkflowId",
        "WorkflowId": "WorkflowId",
        "Operation": "WorkflowType",
        "WorkflowType": _NOTHING,
        "Endpoint": "TaskQueue",
        "TaskQueue": _NOTHING,
        "Service": "RootWorkflowId",
        "RequestId": "RootRunId",
        "ExecutionStatus": OPERATION_STATUS,
        "HistoryLength": _NOTHING,
        "RootWorkflowId": _NOTHING,
        "RootRunId": _NOTHING,
    }
)
"""The same of Nexus operations."""

SETTABLE: Final[AttributeTypes] = MappingProxyType(
    {
        "BatcherNamespace": KEYWORD,
        "BatcherUser": KEYWORD,
        "BinaryChecksums": KEYWORD_LIST,
        "BuildIds": KEYWORD_LIST,
        "TemporalChangeVersion": KEYWORD_LIST,
        "TemporalNamespaceDivision": KEYWORD,
        "TemporalPauseInfo": KEYWORD_LIST,
        "TemporalReportedProblems": KEYWORD_LIST,
        "TemporalSchedulePaused": BOOL,
        "TemporalScheduledById": KEYWORD,
        "TemporalScheduledStartTime": DATETIME,
    }
)
"""Predefined attributes that a caller may set too (SDKs set TemporalChangeVersion)."""

PREDEFINED: Final[AttributeTypes] = MappingProxyType(
    {
        **SETTABLE,
        "TemporalExternalPayloadCount": INT,
        "TemporalExternalPayloadSizeBytes": INT,
        "TemporalUsedWorkerDeploymentVersions": KEYWORD_LIST,
        "TemporalWorkerDeployment": KEYWORD,
        "TemporalWorkerDeploymentVersion": KEYWORD,
        "TemporalWorkflowVersioningBehavior": KEYWORD,
    }
)

NAMESPACE_DIVISION: Final = "TemporalNamespaceDivision"
"""Set on the service's own workflows (schedules, batches): lists leave them out unless a filter names it."""

_PREFIX: Final = "Temporal"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute that a filter names."""

    alias: str
    """The name as the caller wrote it, for sentences."""
    field: str
    """The name it is stored under."""
    type: IndexedValueType.ValueType

    @property
    def type_name(self) -> str:
        """The type's name for people."""
        return TYPE_NAMES[self.type]


def resolve(alias: str, custom: AttributeTypes) -> Attribute | None:
    """The attribute that a caller means by `alias`, or None.

    A custom attribute never hides a system or predefined one. The prefix ``Temporal`` may be left out or
    added, and ``ScheduleId`` means the workflow id, unless the namespace has an attribute of that name.
    """
    names = [alias, _PREFIX + alias]
    if alias.startswith(_PREFIX):
        names.append(alias.removeprefix(_PREFIX))
    for name in names:
        for types in (SYSTEM, PREDEFINED, custom if name == alias else {}):
            if name in types:
                return Attribute(alias, name, types[name])
    if alias.removeprefix(_PREFIX) == "ScheduleId":
        return Attribute(alias, "WorkflowId", KEYWORD)
    return None


def resolve_of_activity(alias: str, custom: AttributeTypes) -> Attribute | None:
    """The attribute that a caller means by `alias` in a filter of standalone activities, or None."""
    field = _ACTIVITY_FIELDS.get(alias)
    if field is not None:
        return Attribute(alias, field, SYSTEM.get(alias, KEYWORD))
    return resolve(alias, custom)


def resolve_of_operation(alias: str, custom: AttributeTypes) -> Attribute | None:
    """The attribute that a caller means by `alias` in a filter of standalone Nexus operations, or None."""
    field = _OPERATION_FIELDS.get(alias)
    if field is not None:
        return Attribute(alias, field, SYSTEM.get(alias, KEYWORD))
    return resolve(alias, custom)
