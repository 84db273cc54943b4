"""What is to be done for each method, worked out once from its request's and response's descriptors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import temporalio.api.errordetails.v1  # noqa: F401 # the messages that errors carry are known from here on
from google.protobuf.descriptor import FileDescriptor
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.rpc import Method, methods_of
from codec.compression import EXPANSION_MAX_BYTES
from codec.proxy.namespaces import Renaming, namespace_accessor
from codec.proxy.tasks import Find, TaskFinders
from codec.walk import Walk, Walkers

_SERVICES: Mapping[str, FileDescriptor] = {
    "WorkflowService": workflow_service.DESCRIPTOR,
    "OperatorService": operator_service.DESCRIPTOR,
    "TestService": test_service.DESCRIPTOR,
}
"""What is passed on at all: what workers and clients of a namespace call. Methods that a newer service has are refused, for
nobody here knows what they hold."""


Rename = Callable[[Any, Mapping[str, str]], bool]
"""See :class:`codec.proxy.namespaces.Renaming`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One method. What is None need not be done."""

    method: Method
    namespace_of: Callable[[Any], str] | None
    walk_request: Walk | None
    walk_response: Walk | None
    find_tasks: Find | None
    rename_request: Rename | None
    rename_response: Rename | None
    tells_limits: bool


class Plans:
    """The plans of all methods, and the walkers that they share."""

    def __init__(self) -> None:
        self.walkers = Walkers()
        self.renaming = renaming = Renaming()
        finders = TaskFinders()
        self.by_path: dict[str, Plan] = {}
        for name, file in _SERVICES.items():
            for method in methods_of(file.services_by_name[name]).values():
                request, response = method.request_type.DESCRIPTOR, method.response_type.DESCRIPTOR
                self.by_path[method.path] = Plan(
                    method=method,
                    namespace_of=namespace_accessor(request),
                    walk_request=self.walkers.of(request),
                    walk_response=self.walkers.of(response),
                    find_tasks=finders.of(response),
                    rename_request=renaming.of(request),
                    rename_response=renaming.of(response),
                    tells_limits=method.name == "DescribeNamespace",
                )

    def named(self, name: str) -> Plan:
        """The plan of a method of WorkflowService."""
        return self.by_path[
            f"/{workflow_service.DESCRIPTOR.services_by_name['WorkflowService'].full_name}/{name}"
        ]


def raise_limits(response: Any) -> bool:
    """Workers hold their payloads to what the service says it takes, and here large ones never reach it."""
    limits = response.namespace_info.limits
    changed = False
    for name in ("blob_size_limit_error", "memo_size_limit_error"):
        if 0 < getattr(limits, name) < EXPANSION_MAX_BYTES:
            setattr(limits, name, EXPANSION_MAX_BYTES)
            changed = True
    return changed
