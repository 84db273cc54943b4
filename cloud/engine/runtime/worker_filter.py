"""The filter of lists of workers: the language of all lists, over what workers say of themselves."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from cloud.engine.store.visibility_attributes import DATETIME, KEYWORD, Attribute
from cloud.engine.store.visibility_conditions import (
    All,
    Between,
    Compare,
    Condition,
    Either,
    FilterError,
    IsNull,
    Not,
    StartsWith,
    Within,
)
from cloud.engine.store.visibility_filter import parse_condition

Matches = Callable[[WorkerHeartbeat], bool]

_STRINGS: Final[dict[str, Callable[[WorkerHeartbeat], str]]] = {
    "WorkerInstanceKey": lambda worker: worker.worker_instance_key,
    "WorkerIdentity": lambda worker: worker.worker_identity,
    "HostName": lambda worker: worker.host_info.host_name,
    "TaskQueue": lambda worker: worker.task_queue,
    "DeploymentName": lambda worker: worker.deployment_version.deployment_name,
    "BuildId": lambda worker: worker.deployment_version.build_id,
    "SdkName": lambda worker: worker.sdk_name,
    "SdkVersion": lambda worker: worker.sdk_version,
    "WorkerStatus": lambda worker: _status_name(worker.status),
}
_TIMES: Final[dict[str, Callable[[WorkerHeartbeat], int]]] = {
    "StartTime": lambda worker: worker.start_time.ToNanoseconds(),
    "HeartbeatTime": lambda worker: worker.heartbeat_time.ToNanoseconds(),
}
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def worker_filter(query: str) -> Matches:
    """What a worker must be to match `query`. A text is null while it is empty, a time while it is not set.

    Raises:
        FilterError: the query is malformed, or names what workers do not tell.
    """
    condition = parse_condition(query, _find)
    return (lambda _: True) if condition is None else _compiled(condition)


def _status_name(status: int) -> str:
    """As the real server writes it: WORKER_STATUS_SHUTTING_DOWN is "ShuttingDown"."""
    name = WorkerStatus.Name(WorkerStatus.ValueType(status)) if status in WorkerStatus.values() else ""
    return "".join(part.capitalize() for part in name.removeprefix("WORKER_STATUS_").split("_"))


def _find(alias: str) -> Attribute:
    name = "WorkerStatus" if alias.lower() == "status" else alias
    if name in _STRINGS:
        return Attribute(alias, name, KEYWORD)
    if name in _TIMES:
        return Attribute(alias, name, DATETIME)
    raise FilterError(
        f"unknown or unsupported worker heartbeat search field: {alias[:100]} "
        f"(there are {', '.join((*_STRINGS, *_TIMES))})"
    )


def _compiled(condition: Condition) -> Matches:
    match condition:
        case All():
            every = [_compiled(each) for each in condition.conditions]
            return lambda worker: all(matches(worker) for matches in every)
        case Either():
            some = [_compiled(each) for each in condition.conditions]
            return lambda worker: any(matches(worker) for matches in some)
        case Not():
            matches = _compiled(condition.condition)
            return lambda worker: not matches(worker)
    # Empty texts are left to `=` and `!=`; a time that is not set is neither before nor after any other.
    name = condition.attribute.field
    value_of: Callable[[WorkerHeartbeat], Any] = _STRINGS.get(name) or _TIMES[name]
    match condition:
        case IsNull():
            return lambda worker: not value_of(worker)
        case StartsWith(prefix=prefix):
            return lambda worker: value_of(worker).startswith(prefix)
        case Within(values=values):
            return lambda worker: value_of(worker) in values
        case Between(low=low, high=high):
            return lambda worker: bool(value_of(worker)) and low <= value_of(worker) <= high
        case Compare():
            compare, wanted = _OPERATORS[condition.operator], condition.value
            return lambda worker: compare(value_of(worker), wanted)
    raise AssertionError(f"a condition that no attribute of workers can have: {condition}")
