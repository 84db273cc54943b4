"""Search attributes and the deletion of namespaces. Sentences are the real server's unless a test says so."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import func, select
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    DeleteNamespaceRequest,
    ListClustersRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    SignalWorkflowExecutionRequest,
)

from cloud.engine.api import operator
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.store import deleting
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.schema import metadata
from cloud.engine.store.visibility_attributes import TYPE_NAMES
from tests.engine.api.calling import NAMESPACE, Api, refusal, start, started
from tests.engine.runtime.harness import FaultyDatabase

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT
KEPT_OF_A_DELETED_NAMESPACE = {"usage_records"}


async def add(api: Api, namespace: str = NAMESPACE, **types: int) -> None:
    request = AddSearchAttributesRequest(namespace=namespace, search_attributes=types)  # type: ignore[arg-type]
    await api("AddSearchAttributes", request)


async def remove(api: Api, *names: str, namespace: str = NAMESPACE) -> None:
    request = RemoveSearchAttributesRequest(namespace=namespace, search_attributes=names)
    await api("RemoveSearchAttributes", request)


async def custom(api: Api) -> dict[str, int]:
    reply = await api("ListSearchAttributes", ListSearchAttributesRequest(namespace=NAMESPACE))
    return dict(reply.custom_attributes)


async def delete(api: Api, namespace: str = NAMESPACE, **fields: object) -> str:
    request = DeleteNamespaceRequest(namespace=namespace, **fields)  # type: ignore[arg-type]
    return str((await api("DeleteNamespace", request)).deleted_namespace)


# --- search attributes ---


async def test_defined_attributes_outlive_a_restart(database: Database) -> None:
    async with started(database) as api:
        await add(api, K=KEYWORD, N=INT)
        await add(api, K=KEYWORD)
    async with started(database) as api:
        assert await custom(api) == {"K": KEYWORD, "N": INT}
        await remove(api, "K", "K", "unknown")
        assert await custom(api) == {"N": INT}


async def test_attributes_defined_at_once_are_all_kept(api: Api) -> None:
    await asyncio.gather(*(add(api, **{f"K{number}": KEYWORD}) for number in range(8)))
    assert set(await custom(api)) == {f"K{number}" for number in range(8)}


@pytest.mark.parametrize(
    ("types", "sentence"),
    [
        ({}, "SearchAttributes are not set on request."),
        ({"WorkflowId": KEYWORD}, "Search attribute WorkflowId is reserved by system."),
        ({"BuildIds": KEYWORD}, "Search attribute BuildIds is reserved by system."),
        ({"TemporalFoo": KEYWORD}, "Search attribute TemporalFoo is reserved by system."),
        (
            {"X": 0},
            "Unable to create search attributes: cannot have more than 0 search attribute of type Unspecified.",
        ),
        ({"X": 99}, "Unknown search attribute type: 99."),
        # The real server takes any name; these would be no use in a filter, or worse.
        (
            {"": KEYWORD},
            "Search attribute name '' is invalid: 1 to 64 letters, digits, spaces or any of . , : _ - / @",
        ),
        (
            {'x"y': KEYWORD},
            "Search attribute name 'x\"y' is invalid: 1 to 64 letters, digits, spaces or any of . , : _ - / @",
        ),
    ],
)
async def test_refused_attributes(api: Api, types: dict[str, int], sentence: str) -> None:
    assert await refusal(add(api, **types)) == f"INVALID_ARGUMENT: {sentence}"
    assert await custom(api) == {}


async def test_the_number_of_attributes_is_bounded_by_type(api: Api) -> None:
    for kind, count_max in operator.ATTRIBUTES_MAX.items():
        await add(api, **{f"{TYPE_NAMES[kind]}{number}": kind for number in range(count_max)})
        assert await refusal(add(api, **{f"{TYPE_NAMES[kind]}more": kind})) == (
            "INVALID_ARGUMENT: Unable to create search attributes: "
            f"cannot have more than {count_max} search attribute of type {TYPE_NAMES[kind]}."
        )


async def test_a_type_can_not_change(api: Api) -> None:
    """The real server answers OK and changes nothing."""
    await add(api, K=KEYWORD)
    assert (
        await refusal(add(api, K=INT))
        == "ALREADY_EXISTS: Search attribute K already exists with type Keyword."
    )


async def test_refused_removals(api: Api) -> None:
    assert await refusal(remove(api)) == "INVALID_ARGUMENT: SearchAttributes are not set on request."
    for name in ("WorkflowId", "BuildIds"):
        assert await refusal(remove(api, name)) == (
            f"INVALID_ARGUMENT: Unable to remove non-custom search attributes: {name}."
        )


async def test_attributes_of_no_namespace(api: Api) -> None:
    unset = "INVALID_ARGUMENT: Namespace is not set on request."
    assert await refusal(add(api, "", K=KEYWORD)) == unset
    assert await refusal(remove(api, "K", namespace="")) == unset
    assert await refusal(api("ListSearchAttributes", ListSearchAttributesRequest())) == unset
    unknown = 'NOT_FOUND: Namespace nowhere is not found. [NamespaceNotFoundFailure namespace: "nowhere"]'
    assert await refusal(add(api, "nowhere", K=KEYWORD)) == unknown


async def test_clusters(api: Api) -> None:
    (cluster,) = (await api("ListClusters", ListClustersRequest())).clusters
    assert (cluster.cluster_name, cluster.cluster_id) == ("active", api.runtime.cell_id)


# --- deletion ---


async def rows_of(database: Database, namespace_id: str, run_ids: list[str]) -> dict[str, int]:
    """How many rows each table holds of a namespace or its runs: every table that names either."""

    def count(connection: object) -> dict[str, int]:
        found = {}
        for table in metadata.tables.values():
            if "namespace_id" in table.c:
                condition = table.c.namespace_id == namespace_id
            elif "run_id" in table.c:
                condition = table.c.run_id.in_(run_ids)
            else:
                continue
            query = select(func.count()).select_from(table).where(condition)
            found[table.name] = connection.execute(query).scalar_one()  # type: ignore[attr-defined]
        return found

    return await database.scan(count)


async def until_gone(api: Api, namespace_id: str) -> None:
    async with asyncio.timeout(20):
        while any(found.namespace_id == namespace_id for found in api.runtime.namespaces.all()):
            await asyncio.sleep(0.005)


async def register(api: Api, name: str) -> str:
    retention = Duration(seconds=86_400)
    await api(
        "RegisterNamespace",
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention),
    )
    described = await api("DescribeNamespace", DescribeNamespaceRequest(namespace=name))
    return str(described.namespace_info.id)


async def filled(api: Api, name: str, count: int) -> list[str]:
    """Workflows of every kind of row: started ones with signals buffered and timers due, and waiting ones."""
    run_ids = [await start(api, f"wf{number}", namespace=name) for number in range(count)]
    poll = PollWorkflowTaskQueueRequest(namespace=name, identity="w")
    poll.task_queue.name = "tq"
    await api("PollWorkflowTaskQueue", poll)
    for number in range(count):
        signal = SignalWorkflowExecutionRequest(
            namespace=name, workflow_execution=WorkflowExecution(workflow_id=f"wf{number}"), signal_name="s"
        )
        signal.input.payloads.append(Payload(data=b"x"))
        await api("SignalWorkflowExecution", signal)
    return run_ids


async def test_a_deleted_namespace_leaves_nothing_but_its_usage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "PAGE_RUNS", 3)
    monkeypatch.setattr(deleting, "PAGE_ROWS", 2)
    async with started(database) as api:
        namespace_id = await register(api, "gone")
        run_ids = await filled(api, "gone", 8)
        kept = await filled(api, NAMESPACE, 2)
        before = await rows_of(database, "ns-id", kept)
        assert {
            name for name, count in (await rows_of(database, namespace_id, run_ids)).items() if count
        } >= {
            "runs",
            "current_runs",
            "history",
            "buffered_events",
            "tasks",
            "visibility",
        }
        assert await delete(api, "gone") == f"gone-deleted-{namespace_id[:5]}"
        await until_gone(api, namespace_id)
        left = await rows_of(database, namespace_id, run_ids)
        assert {name for name, count in left.items() if count} <= KEPT_OF_A_DELETED_NAMESPACE
        assert await rows_of(database, "ns-id", kept) == before
        count = CountWorkflowExecutionsRequest(namespace=NAMESPACE)
        assert (await api("CountWorkflowExecutions", count)).count == 2


async def test_the_name_is_free_at_once(api: Api) -> None:
    first = await register(api, "again")
    await start(api, "wf", namespace="again")
    await delete(api, "again")
    second = await register(api, "again")
    assert second != first
    missing = DescribeWorkflowExecutionRequest(
        namespace="again", execution=WorkflowExecution(workflow_id="wf")
    )
    assert (await refusal(api("DescribeWorkflowExecution", missing))).startswith(
        "NOT_FOUND: workflow not found"
    )
    await until_gone(api, first)
    assert await start(api, "wf", namespace="again")


async def test_a_deletion_goes_on_after_a_crash(database: Database) -> None:
    """The process ends right after the mark, before any row is deleted."""
    async with started(database) as api:
        namespace_id = await register(api, "gone")
        run_ids = await filled(api, "gone", 3)
        faulty = FaultyDatabase(database)
        real, api.runtime.database = api.runtime.database, faulty
        faulty.fail_next = 1_000_000
        await delete(api, "gone")
        api.runtime.database = real
    assert (await rows_of(database, namespace_id, run_ids))["runs"] == 3
    async with started(database) as api:
        await until_gone(api, namespace_id)
        left = await rows_of(database, namespace_id, run_ids)
        assert {name for name, count in left.items() if count} <= KEPT_OF_A_DELETED_NAMESPACE


async def test_a_deletion_outlives_a_store_that_refuses(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "DELETE_RETRY_S", 0.01)
    faulty = FaultyDatabase(database)
    async with started(faulty) as api:
        namespace_id = await register(api, "gone")
        await start(api, "wf", namespace="gone")
        api.runtime.database = refusing = FaultyDatabase(faulty)
        refusing.fail_next = 2
        await delete(api, "gone")
        await until_gone(api, namespace_id)
        assert refusing.fail_next == 0


async def test_a_mark_that_can_not_be_written_changes_nothing(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with started(faulty) as api:
        namespace_id = await register(api, "stays")
        faulty.fail_next = 1
        assert (await refusal(delete(api, "stays"))).startswith("UNAVAILABLE")
        assert await start(api, "wf", namespace="stays")
        assert api.runtime.namespaces.by_name("stays").namespace_id == namespace_id


async def test_nothing_starts_in_a_namespace_while_it_is_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that were let in before the mark: they are refused, or their runs go too."""
    async with started(database) as api:
        namespace_id = await register(api, "gone")
        calls = [asyncio.create_task(start(api, f"wf{number}", namespace="gone")) for number in range(40)]
        deletion = asyncio.create_task(delete(api, "gone"))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        name = await deletion
        await until_gone(api, namespace_id)
        run_ids = [outcome for outcome in outcomes if isinstance(outcome, str)]
        left = await rows_of(database, namespace_id, run_ids)
        assert {table for table, count in left.items() if count} <= KEPT_OF_A_DELETED_NAMESPACE
        assert len(api.runtime.runs) == 0
        assert (await refusal(start(api, "wf", namespace=name))).startswith("NOT_FOUND")


async def test_a_start_that_was_let_in_before_the_mark_comes_too_late(database: Database) -> None:
    async with started(database) as api:
        namespace_id = await register(api, "gone")
        async with api.runtime.id_locks.held(namespace_id, "wf"):
            late = asyncio.create_task(start(api, "wf", namespace="gone"))
            await asyncio.sleep(0)
            await delete(api, "gone")
            await until_gone(api, namespace_id)
        assert (await refusal(late)).startswith("UNAVAILABLE: the namespace is being deleted")
        assert not any((await rows_of(database, namespace_id, [])).values())


async def test_runs_of_a_namespace_being_deleted_are_not_loaded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer that falls due, or a stored task, would bring them back while their rows are being deleted."""
    namespace_id = await register(api, "gone")
    run_id = await start(api, "wf", namespace="gone")
    monkeypatch.setattr(operator.Operator, "_delete_stored", refuse)
    await delete(api, "gone")
    assert (await rows_of(api.runtime.database, namespace_id, [run_id]))["runs"] == 1
    with pytest.raises(NoSuchRun):
        await api.runtime.runs.get(run_id)


async def refuse(*_: object) -> None:
    raise StoreUnavailable("a fault of the test")


async def test_a_namespace_being_deleted_answers_to_its_id_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace_id = await register(api, "gone")
    run_id = await start(api, "wf", namespace="gone")
    await api.runtime.durable(await api.runtime.runs.get(run_id))
    monkeypatch.setattr(operator.Operator, "_delete_stored", refuse)
    name = await delete(api, "gone")
    described = await api("DescribeNamespace", DescribeNamespaceRequest(id=namespace_id))
    assert described.namespace_info.name == name
    assert (await refusal(start(api, "wf2", namespace=name))).startswith(
        "FAILED_PRECONDITION: Namespace has invalid state: Deleted. Must be Registered or Deprecated. "
        "[NamespaceInvalidStateFailure"
    )
    assert (await refusal(delete(api, "gone"))).startswith("NOT_FOUND")
    assert (await refusal(delete(api, name))).startswith("NOT_FOUND")
    assert await delete(api, "", namespace_id=namespace_id) == name


async def test_refused_deletions(api: Api) -> None:
    assert await refusal(delete(api, "")) == "INVALID_ARGUMENT: Namespace not set on request."
    assert await refusal(delete(api, NAMESPACE, namespace_id="ns-id")) == (
        "INVALID_ARGUMENT: Only one of namespace name or Id should be set on request."
    )
    assert await refusal(delete(api, "nowhere")) == (
        'NOT_FOUND: Namespace nowhere is not found. [NamespaceNotFoundFailure namespace: "nowhere"]'
    )
    delayed = delete(api, NAMESPACE, namespace_delete_delay=Duration(seconds=5))
    assert (await refusal(delayed)).startswith("UNIMPLEMENTED: A namespace is deleted at once here")


async def test_names_of_deleted_namespaces_do_not_collide(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator.Operator, "_delete_stored", refuse)
    ids = iter(["12345-a", "12345-b1", "12345-b2"])
    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(api.runtime.ids, "request_id", lambda: next(ids))
            await register(api, "same")
        await delete(api, "same")
    names = {found.name for found in api.runtime.namespaces.all()} - {NAMESPACE}
    assert names == {"same-deleted-12345", "same-deleted-12345-", "same-deleted-12345-b"}
