"""Defining, listing and removing search attributes: names, types, numbers, in a namespace of the scenario's own."""

import asyncio
import uuid
from collections.abc import Mapping

import pytest
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.service import RPCError

from .conftest import Server
from .raw import Scenario
from .rendering import enum_name, error
from .snapshots import expect, grouped

T = IndexedValueType


@pytest.fixture
async def namespace(s: Scenario) -> str:
    name = f"sa-{uuid.uuid4().hex[:8]}"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    for _ in range(150):
        try:
            await add(s, name, {})
        except RPCError as caught:
            if "not found" not in caught.message:
                break
        await asyncio.sleep(0.1)
    return name


async def add(s: Scenario, namespace: str, attributes: Mapping[str, "T.ValueType"]) -> str:
    await s.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=namespace, search_attributes=attributes)
    )
    return "accepted"


async def tried(s: Scenario, call: object) -> str:
    try:
        await call  # type: ignore[misc]
    except RPCError as caught:
        return error(caught, s.names)
    return "accepted"


async def listed(s: Scenario, namespace: str) -> dict[str, int]:
    found = await s.client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=namespace)
    )
    return dict(found.custom_attributes)


async def test_system_attributes(s: Scenario, namespace: str) -> None:
    found = await s.client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=namespace)
    )
    field = AddSearchAttributesRequest.SearchAttributesEntry.DESCRIPTOR.fields_by_name["value"]
    lines = [f"{name} {enum_name(field, kind)}" for name, kind in sorted(found.system_attributes.items())]
    expect(
        "\n".join(lines),
        """
            BatcherNamespace KEYWORD
            BatcherUser KEYWORD
            BinaryChecksums KEYWORD_LIST
            BuildIds KEYWORD_LIST
            CloseTime DATETIME
            ExecutionDuration INT
            ExecutionStatus KEYWORD
            ExecutionTime DATETIME
            HistoryLength INT
            HistorySizeBytes INT
            ParentRunId KEYWORD
            ParentWorkflowId KEYWORD
            RootRunId KEYWORD
            RootWorkflowId KEYWORD
            RunId KEYWORD
            StartTime DATETIME
            StateTransitionCount INT
            TaskQueue KEYWORD
            TemporalChangeVersion KEYWORD_LIST
            TemporalExternalPayloadCount INT
            TemporalExternalPayloadSizeBytes INT
            TemporalNamespaceDivision KEYWORD
            TemporalPauseInfo KEYWORD_LIST
            TemporalReportedProblems KEYWORD_LIST
            TemporalSchedulePaused BOOL
            TemporalScheduledById KEYWORD
            TemporalScheduledStartTime DATETIME
            TemporalUsedWorkerDeploymentVersions KEYWORD_LIST
            TemporalWorkerDeployment KEYWORD
            TemporalWorkerDeploymentVersion KEYWORD
            TemporalWorkflowVersioningBehavior KEYWORD
            WorkflowId KEYWORD
            WorkflowType KEYWORD
        """,
    )
    assert not found.custom_attributes


async def test_names(s: Scenario, namespace: str) -> None:
    names = (
        "WorkflowId",
        "RunId",
        "StartTime",
        "TemporalChangeVersion",
        "TemporalAnything",
        "BuildIds",
        "NamespaceId",
        "Memo",
        "MemoEncoding",
        "VisibilityTaskKey",
        "ScheduleId",
        "ActivityId",
        "Plain",
        "with space",
        "with-dash",
        "with.dot",
        "_underscore",
        "x" * 64,
    )
    outcomes = {
        name: await tried(s, add(s, namespace, {name: T.INDEXED_VALUE_TYPE_KEYWORD})) for name in names
    }
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: Search attribute WorkflowId is reserved by system.
              WorkflowId
            INVALID_ARGUMENT: Search attribute RunId is reserved by system.
              RunId
            INVALID_ARGUMENT: Search attribute StartTime is reserved by system.
              StartTime
            INVALID_ARGUMENT: Search attribute TemporalChangeVersion is reserved by system.
              TemporalChangeVersion
            INVALID_ARGUMENT: Search attribute TemporalAnything is reserved by system.
              TemporalAnything
            INVALID_ARGUMENT: Search attribute BuildIds is reserved by system.
              BuildIds
            INVALID_ARGUMENT: Search attribute NamespaceId is reserved by system.
              NamespaceId
            INVALID_ARGUMENT: Search attribute Memo is reserved by system.
              Memo
            INVALID_ARGUMENT: Search attribute MemoEncoding is reserved by system.
              MemoEncoding
            INVALID_ARGUMENT: Search attribute VisibilityTaskKey is reserved by system.
              VisibilityTaskKey
            accepted
              ScheduleId, ActivityId, Plain, with space, with-dash, with.dot, _underscore,
                  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        """,
    )


async def test_twice_and_otherwise(s: Scenario, namespace: str) -> None:
    told = [await tried(s, add(s, namespace, {"A": T.INDEXED_VALUE_TYPE_KEYWORD}))]
    told.append(await tried(s, add(s, namespace, {"A": T.INDEXED_VALUE_TYPE_KEYWORD})))
    told.append(await tried(s, add(s, namespace, {"B": T.INDEXED_VALUE_TYPE_UNSPECIFIED})))
    told.append(await tried(s, add(s, namespace, {})))
    told.append(await tried(s, add(s, "", {"A": T.INDEXED_VALUE_TYPE_KEYWORD})))
    told.append(await tried(s, add(s, "nowhere", {"A": T.INDEXED_VALUE_TYPE_KEYWORD})))
    told.append(await tried(s, remove(s, namespace, "A")))
    told.append(str(await listed(s, namespace)))
    told.append(await tried(s, remove(s, namespace, "A")))
    told.append(await tried(s, remove(s, namespace, "Nothing")))
    told.append(await tried(s, remove(s, namespace, "WorkflowId")))
    told.append(await tried(s, remove(s, namespace, "TemporalChangeVersion")))
    told.append(await tried(s, remove(s, namespace)))
    told.append(await tried(s, remove(s, "", "A")))
    told.append(await tried(s, add(s, namespace, {"A": T.INDEXED_VALUE_TYPE_INT})))
    expect(
        "\n".join(told),
        """
            accepted
            accepted
            INVALID_ARGUMENT: Unable to create search attributes: cannot have more than 0 search attribute of
                  type Unspecified.
            INVALID_ARGUMENT: SearchAttributes are not set on request.
            INVALID_ARGUMENT: Namespace is not set on request.
            NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
            accepted
            {}
            accepted
            accepted
            INVALID_ARGUMENT: Unable to remove non-custom search attributes: WorkflowId.
            INVALID_ARGUMENT: Unable to remove non-custom search attributes: TemporalChangeVersion.
            INVALID_ARGUMENT: SearchAttributes are not set on request.
            INVALID_ARGUMENT: Namespace is not set on request.
            accepted
        """,
    )


async def remove(s: Scenario, namespace: str, *names: str) -> None:
    await s.client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=namespace, search_attributes=names)
    )


async def test_numbers(s: Scenario, namespace: str, server: Server) -> None:
    kinds = {
        "Text": T.INDEXED_VALUE_TYPE_TEXT,
        "Int": T.INDEXED_VALUE_TYPE_INT,
        "KeywordList": T.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    }
    outcomes = {}
    for name, kind in kinds.items():
        outcomes[name] = await tried(s, add(s, namespace, {f"{name}{number}": kind for number in range(30)}))
    if server.real:  # as many as its columns
        expect(
            grouped(outcomes),
            """
                INVALID_ARGUMENT: Unable to create search attributes: cannot have more than 3 search attribute
                      of type Text.
                  Text
                INVALID_ARGUMENT: Unable to create search attributes: cannot have more than 3 search attribute
                      of type Int.
                  Int
                INVALID_ARGUMENT: Unable to create search attributes: cannot have more than 3 search attribute
                      of type KeywordList.
                  KeywordList
            """,
        )
    else:
        assert sorted(outcomes.values()) == [
            "INVALID_ARGUMENT: Unable to create search attributes: cannot have more than "
            f"{most} search attribute of type {kind}."
            for most, kind in ((20, "Int"), (5, "KeywordList"), (5, "Text"))
        ]
