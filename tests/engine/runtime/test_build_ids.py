"""Build ids of the older forms of versioning: sets, rules and what they assigned outlive a crash, and a failed change is none."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkerVersionStamp
from temporalio.api.taskqueue.v1 import BuildIdAssignmentRule, CompatibleBuildIdRedirectRule, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkerVersioningRulesRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    UpdateWorkerBuildIdCompatibilityRequest,
    UpdateWorkerVersioningRulesRequest,
)

from cloud.engine.runtime import builds
from cloud.engine.runtime.dynamic_config import DynamicConfig, parse
from cloud.engine.store.database import Database
from cloud.rpc import FailedPrecondition, OutOfRange, PermissionDenied, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

Rules = UpdateWorkerVersioningRulesRequest


def switched_on() -> DynamicConfig:
    names = ("DataAPIs", "RuleAPIs", "WorkflowAPIs")
    return parse(f"frontend.workerVersioning{name}=true" for name in names)[0]


async def poll(found: Engine, build_id: str, timeout_s: float = 10) -> PollWorkflowTaskQueueResponse:
    request = PollWorkflowTaskQueueRequest(
        namespace=NAMESPACE,
        task_queue=TaskQueue(name="tq"),
        identity=build_id,
        worker_version_capabilities=WorkerVersionCapabilities(build_id=build_id, use_versioning=True),
    )
    reply: PollWorkflowTaskQueueResponse = await found.call("PollWorkflowTaskQueue", request, timeout_s)
    return reply


async def step(found: Engine, build_id: str) -> str:
    """Take a task as a worker of a build id and answer it. Returns its workflow's id."""
    task = await poll(found, build_id)
    assert task.task_token, f"nothing came for {build_id}"
    stamp = WorkerVersionStamp(build_id=build_id, use_versioning=True)
    await found.complete(task, worker_version_stamp=stamp)
    return task.workflow_execution.workflow_id


async def add_set(found: Engine, build_id: str, queue: str = "tq") -> None:
    await found.call(
        "UpdateWorkerBuildIdCompatibility",
        UpdateWorkerBuildIdCompatibilityRequest(
            namespace=NAMESPACE, task_queue=queue, add_new_build_id_in_new_default_set=build_id
        ),
    )


async def change_rules(found: Engine, **operation: object) -> None:
    known = await found.call(
        "GetWorkerVersioningRules", GetWorkerVersioningRulesRequest(namespace=NAMESPACE, task_queue="tq")
    )
    await found.call(
        "UpdateWorkerVersioningRules",
        Rules(
            namespace=NAMESPACE,
            task_queue="tq",
            conflict_token=known.conflict_token,
            **operation,  # type: ignore[arg-type]
        ),
    )


async def insert(found: Engine, build_id: str) -> None:
    rule = BuildIdAssignmentRule(target_build_id=build_id)
    await change_rules(found, insert_assignment_rule=Rules.InsertBuildIdAssignmentRule(rule=rule))


async def redirect(found: Engine, source: str, target: str) -> None:
    rule = CompatibleBuildIdRedirectRule(source_build_id=source, target_build_id=target)
    await change_rules(found, add_compatible_redirect_rule=Rules.AddCompatibleBuildIdRedirectRule(rule=rule))


async def assigned(found: Engine, workflow_id: str) -> str:
    request = DescribeWorkflowExecutionRequest(namespace=NAMESPACE)
    request.execution.workflow_id = workflow_id
    reply = await found.call("DescribeWorkflowExecution", request)
    return str(reply.workflow_execution_info.assigned_build_id)


async def test_a_restart_keeps_rules_and_what_they_assigned(database: Database) -> None:
    async with engine(database, dynamic_config=switched_on()) as found:
        await insert(found, "A")
        await found.start("stored")
        await found.start("begun")
        for _ in range(2):
            await step(found, "A")
        await found.signal("begun", "go")
        await insert(found, "B")
        await found.start("later")
        assert await assigned(found, "later") == "B"
    async with engine(database, dynamic_config=switched_on()) as found:
        assert await assigned(found, "stored") == "A"
        assert await step(found, "A") == "begun"
        await redirect(found, "B", "C")
        assert await step(found, "C") == "later"
        assert await assigned(found, "later") == "C"
    async with engine(database, dynamic_config=switched_on()) as found:
        await found.signal("later", "go")
        with pytest.raises(OutOfRange, match="newer compatible build"):
            await poll(found, "B")
        assert await step(found, "C") == "later"


async def test_a_restart_keeps_sets_and_who_is_in_them(database: Database) -> None:
    async with engine(database, dynamic_config=switched_on()) as found:
        await add_set(found, "1.0")
        await found.start("wf")
        await step(found, "1.0")
        await add_set(found, "2.0")
        await found.signal("wf", "go")
        await found.start("new")
    async with engine(database, dynamic_config=switched_on()) as found:
        both = await asyncio.gather(step(found, "1.0"), step(found, "2.0"))
        assert list(both) == ["wf", "new"]


async def test_a_change_that_can_not_be_stored_did_not_happen(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty, dynamic_config=switched_on()) as found:
        await add_set(found, "1.0")
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await add_set(found, "2.0")
        await found.start("wf")
        assert await step(found, "1.0") == "wf"


async def test_a_waiting_worker_learns_at_once_that_another_has_its_tasks(database: Database) -> None:
    async with engine(database, dynamic_config=switched_on()) as found:
        await insert(found, "A")
        waiting = asyncio.create_task(poll(found, "A", 30))
        await asyncio.sleep(0.1)
        await redirect(found, "A", "B")
        with pytest.raises(OutOfRange, match='newer compatible build: "B"'):
            await asyncio.wait_for(waiting, 5)


async def test_a_redirect_finds_many_stored_tasks(database: Database) -> None:
    async with engine(database, dynamic_config=switched_on()) as found:
        await insert(found, "A")
        for n in range(5):
            await found.start(f"wf-{n}")
        await redirect(found, "A", "B")
        await redirect(found, "B", "C")
        assert {await step(found, "C") for _ in range(5)} == {f"wf-{n}" for n in range(5)}
        assert not (await found.poll(timeout_s=2.5)).task_token


async def test_switched_off_no_worker_may_say_that_it_uses_versioning(database: Database) -> None:
    async with engine(database) as found:
        with pytest.raises(PermissionDenied, match="workflow progress APIs"):
            await poll(found, "A")


async def test_a_namespace_has_such_data_for_so_many_queues(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "QUEUES_MAX", 2)
    async with engine(database, dynamic_config=switched_on()) as found:
        await add_set(found, "1", "a")
        await add_set(found, "2", "b")
        with pytest.raises(FailedPrecondition, match="2 task queues"):
            await add_set(found, "3", "c")
        await add_set(found, "3", "a")


async def test_a_namespace_has_so_many_bytes_of_such_data(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "BYTES_MAX", 2_000)
    async with engine(database, dynamic_config=switched_on()) as found:
        for n in range(5):
            await add_set(found, f"{n}" + "x" * 200, "a")
        with pytest.raises(FailedPrecondition, match="would exceed 2000 bytes"):
            await asyncio.gather(*(add_set(found, f"{n}" + "y" * 200, f"queue-{n}") for n in range(10)))
        await found.start("wf")
        assert (await found.poll()).task_token
