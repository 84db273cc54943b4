import uuid

import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig, UpdateNamespaceInfo
from temporalio.client import Client

from . import commands as c
from .conftest import Server
from .raw import Scenario

DAY = Duration(seconds=86400)


async def test_describe(s: Scenario) -> None:
    reply = await s.service.describe_namespace(ws.DescribeNamespaceRequest(namespace=s.namespace))
    assert reply.namespace_info.name == "default"
    assert reply.namespace_info.id
    assert reply.config.workflow_execution_retention_ttl.seconds > 0
    assert reply.namespace_info.capabilities.eager_workflow_start
    by_id = await s.service.describe_namespace(ws.DescribeNamespaceRequest(id=reply.namespace_info.id))
    assert by_id.namespace_info.name == "default"


async def test_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        s.service.describe_namespace(ws.DescribeNamespaceRequest(namespace="nowhere")),
        """
            NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
        """,
    )
    await s.expect_refusal(
        s.service.describe_namespace(ws.DescribeNamespaceRequest()),
        """
            INVALID_ARGUMENT: Namespace not set on request.
        """,
    )
    await s.expect_refusal(
        s.service.register_namespace(
            ws.RegisterNamespaceRequest(namespace="default", workflow_execution_retention_period=DAY)
        ),
        """
            ALREADY_EXISTS: Namespace "default" already exists
              NamespaceAlreadyExistsFailure
        """,
    )
    await s.expect_refusal(
        s.service.register_namespace(ws.RegisterNamespaceRequest(workflow_execution_retention_period=DAY)),
        """
            INVALID_ARGUMENT: Namespace not set on request.
        """,
    )
    await s.expect_refusal(
        s.service.register_namespace(ws.RegisterNamespaceRequest(namespace=s.id("n"))),
        """
            INVALID_ARGUMENT: A valid retention period is not set on request.
        """,
    )
    await s.expect_refusal(
        s.service.register_namespace(
            ws.RegisterNamespaceRequest(namespace="x" * 1001, workflow_execution_retention_period=DAY)
        ),
        """
            INVALID_ARGUMENT: Namespace length exceeds limit.
        """,
    )


async def test_life_of_a_namespace(s: Scenario, server: Server) -> None:
    name = f"scenario-{uuid.uuid4().hex[:8]}"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(
            namespace=name,
            description="made by a test",
            owner_email="a@b.c",
            workflow_execution_retention_period=DAY,
        )
    )
    reply = await s.service.describe_namespace(ws.DescribeNamespaceRequest(namespace=name))
    assert (reply.namespace_info.description, reply.namespace_info.owner_email) == ("made by a test", "a@b.c")
    listed = await s.service.list_namespaces(ws.ListNamespacesRequest(page_size=1000))
    assert name in [item.namespace_info.name for item in listed.namespaces]
    updated = await s.service.update_namespace(
        ws.UpdateNamespaceRequest(
            namespace=name,
            update_info=UpdateNamespaceInfo(description="changed"),
            config=NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=2 * 86400)),
        )
    )
    assert updated.namespace_info.description == "changed"
    assert updated.config.workflow_execution_retention_ttl.seconds == 2 * 86400
    deleted = await s.client.operator_service.delete_namespace(
        operator.DeleteNamespaceRequest(namespace=name)
    )
    assert deleted.deleted_namespace.startswith(name)


async def test_deprecated_namespace_takes_no_starts(s: Scenario, server: Server) -> None:
    name = f"scenario-{uuid.uuid4().hex[:8]}"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=DAY)
    )
    await s.service.deprecate_namespace(ws.DeprecateNamespaceRequest(namespace=name))
    reply = await s.service.describe_namespace(ws.DescribeNamespaceRequest(namespace=name))
    s.expect_message(
        reply.namespace_info,
        """
            state=DEPRECATED
        """,
        hide=["id", "name", "capabilities", "limits", "supports_schedules"],
    )
    await s.client.operator_service.delete_namespace(operator.DeleteNamespaceRequest(namespace=name))


async def test_same_workflow_id_in_two_namespaces(s: Scenario, server: Server) -> None:
    name = f"scenario-{uuid.uuid4().hex[:8]}"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=DAY)
    )
    other = Scenario(await Client.connect(server.address, namespace=name, identity="tester"), s.prefix)
    await s.start()
    for _ in range(200):  # other servers need a moment until a new namespace is known everywhere
        try:
            await other.start()
            break
        except Exception as caught:
            if "not found" not in str(caught):
                raise
    await s.step(c.complete("here"))
    await other.step(c.complete("there"))
    other.expect_events(
        [await other.closed()],
        """
            5 WorkflowExecutionCompleted result=['there'] workflow_task_completed_event_id=4
        """,
    )
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionCompleted result=['here'] workflow_task_completed_event_id=4
        """,
    )
    await s.client.operator_service.delete_namespace(operator.DeleteNamespaceRequest(namespace=name))
