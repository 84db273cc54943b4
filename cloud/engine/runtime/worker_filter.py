"""The filter of lists of workers: the language of all lists, over what workers say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from cloud.engine.runtime.conditions import compiled
from cloud.engine.store.visibility_attributes import DATETIME, KEYWORD, Attribute
from cloud.engine.store.visibility_conditions import FilterError
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


def worker_filter(query: str) -> Matches:
    """What a worker must be to match `query`. A text is null while it is empty, a time while it is not set.

    Raises:
        FilterError: the query is malformed, or names what workers do not tell.
    """
    condition = parse_condition(query, _find)
    return (lambda _: True) if condition is None else compiled(condition, {**_STRINGS, **_TIMES})


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
