from __future__ import annotations

from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from temporalio.api.cloud.cloudservice.v1 import service_pb2 as cloud_service
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.gateway import METHOD_TABLE, CallParts, Gateway, LimitClass, ListenerKind, Poll, Scope
from cloud.gateway.namespace_of import namespace_accessor
from cloud.rpc import Method, Unimplemented
from cloud.transport.http2.services import Services
from tenancy.access import Permission

FILES: list[Any] = [
    workflow_service,
    operator_service,
    cloud_service,
    test_service,
    health_pb2,
    reflection_pb2,
]
PATHS = {
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# The same service as v1alpha by another name, of which there is no file.
PATHS.add("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
ROWS = {row.name: row for row in METHOD_TABLE.values() if "workflowservice" in row.path}


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert METHOD_TABLE.keys() == PATHS


def test_open_methods_are_those_that_the_transport_serves() -> None:
    opened = {row.path for row in METHOD_TABLE.values() if row.scope is Scope.OPEN}
    assert Services([]).conversations.keys() == opened
    assert all(METHOD_TABLE[path].method is None for path in opened)


def test_every_request_of_namespace_scope_names_a_namespace() -> None:
    for row in METHOD_TABLE.values():
        if row.method is not None and row.scope is Scope.NAMESPACE:
            assert namespace_accessor(row.method.request_type) is not None, row.path


def test_no_other_request_of_the_workflow_service_does() -> None:
    for row in ROWS.values():
        if row.scope is not Scope.NAMESPACE and row.method is not None:
            assert namespace_accessor(row.method.request_type) is None, row.path


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rights_follow_from_what_a_method_does(name: str) -> None:
    row = ROWS[name]
    if name.startswith(("Respond", "Record", "Start", "Signal", "Terminate", "Delete", "Create", "Reset")):
        assert row.permission is Permission.WRITE
    if name.startswith(("Describe", "Count", "Query")) or name == "GetWorkflowExecutionHistory":
        assert row.permission is Permission.READ
    if name.endswith("TaskQueue") and name.startswith("Poll"):
        assert row.permission is Permission.WRITE
        assert row.poll in set(Poll)
        assert row.limit_class is LimitClass.P4


@pytest.mark.parametrize(
    "path",
    [
        "/temporal.api.workflowservice.v1.WorkflowService/RegisterNamespace",
        "/temporal.api.workflowservice.v1.WorkflowService/UpdateNamespace",
        "/temporal.api.workflowservice.v1.WorkflowService/DeprecateNamespace",
        "/temporal.api.workflowservice.v1.WorkflowService/ListNamespaces",
        "/temporal.api.operatorservice.v1.OperatorService/DeleteNamespace",
        "/temporal.api.operatorservice.v1.OperatorService/AddOrUpdateRemoteCluster",
        "/temporal.api.testservice.v1.TestService/Sleep",
    ],
)
def test_what_the_control_plane_owns_is_not_served_to_tenants(path: str) -> None:
    row = METHOD_TABLE[path]
    assert row.listeners == {ListenerKind.DEVELOPMENT}
    assert row.permission is Permission.ADMIN
    assert row.instead


@pytest.mark.parametrize("name", ["AddSearchAttributes", "RemoveSearchAttributes"])
def test_who_would_change_search_attributes_is_told_the_command(name: str) -> None:
    row = METHOD_TABLE[f"/temporal.api.operatorservice.v1.OperatorService/{name}"]
    assert "`tacit namespace update NAME --search-attribute Name=type`" in row.instead


def test_certificates_do_not_reach_the_control_plane() -> None:
    for row in METHOD_TABLE.values():
        if row.scope is Scope.ACCOUNT:
            assert ListenerKind.MTLS not in row.listeners


async def test_a_method_without_a_row_is_refused(gateway: Gateway) -> None:
    known = ROWS["StartWorkflowExecution"].method
    assert known is not None
    unknown = Method(
        service=known.service,
        name="Invented",
        path=f"/{known.service}/Invented",
        request_type=known.request_type,
        response_type=known.response_type,
    )
    with pytest.raises(Unimplemented):
        await gateway.call(unknown, known.request_type(), CallParts(listener=ListenerKind.DEVELOPMENT))


# Every plain field in any request whose name speaks of a namespace, by its message, and who looks at it.
NAMESPACE_FIELDS = {
    "request": "authorised by the gateway",
    "start_workflow": "compared with the outer one by the gateway",
    "update_workflow": "compared with the outer one by the gateway",
    "request_cancel_external_workflow_execution_command_attributes": "refused by the engine",
    "signal_external_workflow_execution_command_attributes": "refused by the engine",
    "start_child_workflow_execution_command_attributes": "refused by the engine",
    "workflow_event": "a link: told, not acted on",
    "workflow": "a link: told, not acted on",
    "activity": "a link: told, not acted on",
    "nexus_operation": "a link: told, not acted on",
    "callback": "a link: told, not acted on",
    "child_workflow_execution_failure_info": "told, not acted on",
    "worker": "an endpoint's target: development only, the control plane owns endpoints",
}


def test_no_field_names_a_namespace_unseen() -> None:
    def walk(descriptor: Any, holder: str, above: frozenset[str]) -> set[str]:
        found = set()
        for field in descriptor.fields:
            held = field.message_type
            if held is None:
                if field.name == "namespace":
                    found.add(holder)
            elif held.full_name not in above:
                found |= walk(held, field.name, above | {held.full_name})
        return found

    found: set[str] = set()
    for row in METHOD_TABLE.values():
        if row.method is not None and row.scope is not Scope.ACCOUNT:
            descriptor = row.method.request_type.DESCRIPTOR
            found |= walk(descriptor, "request", frozenset({descriptor.full_name}))
    assert found == NAMESPACE_FIELDS.keys()
