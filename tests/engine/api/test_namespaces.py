"""Namespaces from registration to deprecation. Sentences are those of the real server of 1.32 unless a test says so."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.namespace.v1 import (
    BadBinaries,
    BadBinaryInfo,
    NamespaceConfig,
    NamespaceFilter,
    UpdateNamespaceInfo,
)
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.replication.v1 import ClusterReplicationConfig, NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)

from cloud.engine.store.database import Database
from tests.engine.api.calling import NAMESPACE, Api, refusal, start, started

DAY = Duration(seconds=86_400)


async def register(api: Api, name: str, **fields: object) -> None:
    fields.setdefault("workflow_execution_retention_period", DAY)
    await api("RegisterNamespace", RegisterNamespaceRequest(namespace=name, **fields))  # type: ignore[arg-type]


async def described(api: Api, name: str = "", namespace_id: str = "") -> DescribeNamespaceResponse:
    found: DescribeNamespaceResponse = await api(
        "DescribeNamespace", DescribeNamespaceRequest(namespace=name, id=namespace_id)
    )
    return found


async def update(api: Api, name: str, **fields: object) -> DescribeNamespaceResponse:
    await api("UpdateNamespace", UpdateNamespaceRequest(namespace=name, **fields))  # type: ignore[arg-type]
    return await described(api, name)


async def test_what_was_registered_is_described_by_name_and_id_also_after_a_restart(
    database: Database,
) -> None:
    async with started(database) as api:
        await register(api, "one", description="d", owner_email="o@x", data={"k": "v"})
        found = await described(api, "one")
    assert found.namespace_info.state == NamespaceState.NAMESPACE_STATE_REGISTERED
    assert (found.namespace_info.description, found.namespace_info.owner_email) == ("d", "o@x")
    assert dict(found.namespace_info.data) == {"k": "v"}
    assert found.config.workflow_execution_retention_ttl == DAY
    async with started(database) as api:
        assert await described(api, "one") == found
        assert await described(api, namespace_id=found.namespace_info.id) == found


async def test_capabilities_are_only_those_that_work(api: Api) -> None:
    info = (await described(api, NAMESPACE)).namespace_info
    assert [field.name for field, _ in info.capabilities.ListFields()] == [
        "eager_workflow_start",
        "sync_update",
        "async_update",
        "worker_heartbeats",
        "reported_problems_search_attribute",
        "workflow_pause",
        "standalone_activities",
        "poller_autoscaling",
        "standalone_nexus_operation",
        "standalone_activity_start_delay",
        "standalone_activity_batch_operations",
        "standalone_activity_operator_commands",
    ]
    assert info.supports_schedules
    assert info.limits.blob_size_limit_error == info.limits.memo_size_limit_error == 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"namespace": ""}, "Namespace not set on request."),
        ({"namespace": "x" * 201}, "Namespace length exceeds limit."),
        ({"workflow_execution_retention_period": None}, "A valid retention period is not set on request."),
        (
            {"workflow_execution_retention_period": Duration(seconds=3599)},
            "A valid retention period is not set on request.",
        ),
        (
            {"workflow_execution_retention_period": Duration(seconds=-5)},
            "A valid retention period is not set on request.",
        ),
        ({"is_global_namespace": True}, "Cannot register global namespace when not enabled"),
        ({"active_cluster_name": "nope"}, "Invalid cluster name: nope"),
        ({"clusters": [ClusterReplicationConfig(cluster_name="nope")]}, "Invalid cluster name: nope"),
        (
            {"namespace": "a b"},  # the real server takes it
            "Namespace name 'a b' is invalid: letters, digits, '-', '_' and '.', beginning with a letter or digit.",
        ),
        (
            {"data": {"k": "v" * 65_536}},  # the real server has no limit of its own
            "Description, owner and data of namespace new have 65537 bytes, the limit is 65536.",
        ),
    ],
)
async def test_refused_registrations(api: Api, fields: dict[str, object], sentence: str) -> None:
    request = {"namespace": "new", "workflow_execution_retention_period": DAY} | fields
    answer = api("RegisterNamespace", RegisterNamespaceRequest(**request))  # type: ignore[arg-type]
    assert await refusal(answer) == f"INVALID_ARGUMENT: {sentence}"


async def test_names_are_taken_once(api: Api) -> None:
    outcomes = await asyncio.gather(*(register(api, "one") for _ in range(3)), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert await refusal(register(api, "one")) == (
        'ALREADY_EXISTS: Namespace "one" already exists [NamespaceAlreadyExistsFailure ]'
    )


async def test_unknown_namespaces(api: Api) -> None:
    unknown = 'NOT_FOUND: Namespace nowhere is not found. [NamespaceNotFoundFailure namespace: "nowhere"]'
    assert await refusal(described(api, "nowhere")) == unknown
    assert await refusal(described(api, namespace_id="nowhere")) == unknown
    assert await refusal(update(api, "nowhere")) == unknown
    deprecation = api("DeprecateNamespace", DeprecateNamespaceRequest(namespace="nowhere"))
    assert await refusal(deprecation) == unknown
    unset = "INVALID_ARGUMENT: Namespace not set on request."
    assert await refusal(described(api)) == unset
    assert await refusal(update(api, "")) == unset
    assert await refusal(api("DeprecateNamespace", DeprecateNamespaceRequest())) == unset
    assert await refusal(described(api, NAMESPACE, "ns-id")) == (
        "INVALID_ARGUMENT: GetNamespace operation failed.  Both ID and Name specified in request."
    )


async def test_an_update_changes_what_it_names(api: Api) -> None:
    await register(api, "one", description="d", owner_email="o@x", data={"a": "1"})
    found = await update(api, "one", update_info=UpdateNamespaceInfo(description="e", data={"b": "2"}))
    assert (found.namespace_info.description, found.namespace_info.owner_email) == ("e", "o@x")
    assert dict(found.namespace_info.data) == {"a": "1", "b": "2"}
    two_hours = NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=7200))
    found = await update(api, "one", config=two_hours)
    assert found.config.workflow_execution_retention_ttl.seconds == 7200
    assert dict(found.namespace_info.data) == {"a": "1", "b": "2"}


async def test_what_was_described_can_be_sent_back(api: Api) -> None:
    found = await described(api, NAMESPACE)
    assert found == await update(
        api, NAMESPACE, config=found.config, replication_config=found.replication_config
    )


async def test_updates_at_once_are_all_kept(api: Api) -> None:
    await asyncio.gather(
        *(
            update(api, NAMESPACE, update_info=UpdateNamespaceInfo(data={str(number): "x"}))
            for number in range(8)
        )
    )
    assert set((await described(api, NAMESPACE)).namespace_info.data) == {str(number) for number in range(8)}


async def test_runs_in_memory_see_the_new_retention(api: Api) -> None:
    run_id = await start(api, "wf")
    await update(
        api, NAMESPACE, config=NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=7200))
    )
    assert (await api.runtime.runs.get(run_id)).namespace.retention == 7200 * 10**9


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (
            {"promote_namespace": True},
            "INVALID_ARGUMENT: global namespace is not enabled on this cluster, cannot update global namespace or "
            "promote local namespace: ns",
        ),
        ({"delete_bad_binary": "x"}, "INVALID_ARGUMENT: Bad binary checksum x doesn't exists."),
        (
            {"replication_config": NamespaceReplicationConfig(active_cluster_name="nope")},
            "INVALID_ARGUMENT: Invalid cluster name: nope",
        ),
        (
            {"config": NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=1))},
            "INVALID_ARGUMENT: A valid retention period is not set on request.",
        ),
        # The real server has these two; here they would be lost without a word.
        (
            {"config": NamespaceConfig(bad_binaries=BadBinaries(binaries={"x": BadBinaryInfo()}))},
            "UNIMPLEMENTED: Bad binaries are not kept here: reset the workflows concerned, or use worker versioning.",
        ),
        (
            {"config": NamespaceConfig(custom_search_attribute_aliases={"Keyword01": "K"})},
            "UNIMPLEMENTED: Search attributes have no aliases here: define them by their names with "
            "OperatorService.AddSearchAttributes.",
        ),
    ],
)
async def test_refused_updates(api: Api, fields: dict[str, object], answer: str) -> None:
    assert await refusal(update(api, NAMESPACE, **fields)) == answer


async def test_states_only_go_forward_and_deletion_has_its_own_method(api: Api) -> None:
    refused = "INVALID_ARGUMENT: Invalid namespace state update."
    state = NamespaceState
    deleted = UpdateNamespaceInfo(state=state.NAMESPACE_STATE_DELETED)
    assert await refusal(update(api, NAMESPACE, update_info=deleted)) == refused
    deprecated = UpdateNamespaceInfo(state=state.NAMESPACE_STATE_DEPRECATED)
    found = await update(api, NAMESPACE, update_info=deprecated)
    assert found.namespace_info.state == state.NAMESPACE_STATE_DEPRECATED
    registered = UpdateNamespaceInfo(state=state.NAMESPACE_STATE_REGISTERED)
    assert await refusal(update(api, NAMESPACE, update_info=registered)) == refused


async def test_deprecation_is_told(api: Api) -> None:
    await api("DeprecateNamespace", DeprecateNamespaceRequest(namespace=NAMESPACE))
    found = await described(api, NAMESPACE)
    assert found.namespace_info.state == NamespaceState.NAMESPACE_STATE_DEPRECATED


async def test_pages(api: Api) -> None:
    for number in range(4):
        await register(api, f"n{number}")
    names, token, pages = [], b"", 0
    while True:
        page = await api("ListNamespaces", ListNamespacesRequest(page_size=2, next_page_token=token))
        names += [item.namespace_info.name for item in page.namespaces]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert names == ["n0", "n1", "n2", "n3", NAMESPACE]
    assert pages == 3
    for size in (0, -1, 5_000):
        assert len((await api("ListNamespaces", ListNamespacesRequest(page_size=size))).namespaces) == 5


async def test_foreign_page_tokens_are_refused(api: Api) -> None:
    for token in (b"garbage", b"\x01" + bytes(40)):
        request = ListNamespacesRequest(next_page_token=token)
        assert await refusal(api("ListNamespaces", request)) == "INVALID_ARGUMENT: Invalid NextPageToken."


async def test_deleted_namespaces_are_listed_on_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()
    monkeypatch.setattr(api.runtime.namespaces, "delete", lambda *_: held.wait())
    await register(api, "gone")
    await api("DeleteNamespace", DeleteNamespaceRequest(namespace="gone"))
    listed = await api("ListNamespaces", ListNamespacesRequest())
    assert [item.namespace_info.name for item in listed.namespaces] == [NAMESPACE]
    everything = ListNamespacesRequest(namespace_filter=NamespaceFilter(include_deleted=True))
    listed = await api("ListNamespaces", everything)
    assert len(listed.namespaces) == 2
