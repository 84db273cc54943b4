"""Task queues described in both modes, and workers that stop."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.api.enums.v1 import (
    BuildIdTaskReachability,
    DescribeTaskQueueMode,
    TaskQueueKind,
    TaskQueueType,
)
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue, TaskQueueVersionSelection
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    ShutdownWorkerRequest,
    SignalWorkflowExecutionRequest,
)

from cloud.engine.store.database import Database
from tests.engine.api.calling import NAMESPACE, Api, refusal, start, started

ENHANCED = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
NEXUS = TaskQueueType.TASK_QUEUE_TYPE_NEXUS
STICKY = "sticky-of-w1"


async def described(api: Api, name: str = "tq", **fields: Any) -> DescribeTaskQueueResponse:
    fields.setdefault("task_queue", TaskQueue(name=name))
    found: DescribeTaskQueueResponse = await api(
        "DescribeTaskQueue", DescribeTaskQueueRequest(namespace=NAMESPACE, **fields)
    )
    return found


async def poll(api: Api, name: str = "tq", identity: str = "w1", *, sticky: bool = False) -> Any:
    kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY if sticky else TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    queue = TaskQueue(name=name, kind=kind, normal_name="tq" if sticky else "")
    request = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity=identity)
    return await api("PollWorkflowTaskQueue", request)


async def until_polled(api: Api, name: str) -> None:
    async with asyncio.timeout(5):
        while not any(
            key.name == name and queue.pollers for key, queue in api.runtime.queues._queues.items()
        ):
            await asyncio.sleep(0)


async def test_backlog_and_pollers(database: Database) -> None:
    async with started(database) as api:
        assert not (await described(api, report_stats=True)).stats.approximate_backlog_count
        for number in range(3):
            await start(api, f"wf{number}")
        found = await described(api, report_stats=True, include_task_queue_status=True)
        assert found.stats.approximate_backlog_count == 3
        assert found.stats.approximate_backlog_age.ToNanoseconds() > 0
        assert found.stats_by_priority_key[3] == found.stats
        assert found.task_queue_status.backlog_count_hint == 3
        assert found.versioning_info.current_version == "__unversioned__"
        assert not found.pollers
        await poll(api)
        found = await described(api, report_stats=True)
        assert found.stats.approximate_backlog_count == 2
        (poller,) = found.pollers
        assert (poller.identity, poller.rate_per_second) == ("w1", 100_000)
        assert poller.last_access_time.ToNanoseconds() > 0


async def test_each_type_is_a_queue_of_its_own(api: Api) -> None:
    await start(api, "wf")
    for task_type, count in ((WORKFLOW, 1), (0, 1), (ACTIVITY, 0), (NEXUS, 0)):
        found = await described(api, report_stats=True, task_queue_type=task_type)
        assert found.stats.approximate_backlog_count == count
        assert found.stats.HasField("approximate_backlog_age")


async def test_only_what_is_asked_for_is_told(api: Api) -> None:
    found = await described(api)
    assert not found.HasField("stats")
    assert not found.HasField("task_queue_status")
    found = await described(api, api_mode=ENHANCED)
    assert not found.versions_info[""].types_info[WORKFLOW].HasField("stats")


async def test_the_enhanced_mode_has_all_tasks_under_the_unversioned(api: Api) -> None:
    for number in range(2):
        await start(api, f"wf{number}")
    await poll(api)
    found = await described(
        api, api_mode=ENHANCED, report_stats=True, report_pollers=True, report_task_reachability=True
    )
    assert set(found.versions_info) == {""}
    info = found.versions_info[""]
    assert set(info.types_info) == {WORKFLOW, ACTIVITY}
    assert info.types_info[WORKFLOW].stats.approximate_backlog_count == 1
    assert [poller.identity for poller in info.types_info[WORKFLOW].pollers] == ["w1"]
    assert not info.types_info[ACTIVITY].stats.approximate_backlog_count
    assert info.task_reachability == BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE

    selected = await described(
        api,
        api_mode=ENHANCED,
        report_stats=True,
        report_task_reachability=True,
        task_queue_types=[WORKFLOW],
        versions=TaskQueueVersionSelection(build_ids=["b"]),
    )
    assert set(selected.versions_info) == {"b"}
    info = selected.versions_info["b"]
    assert set(info.types_info) == {WORKFLOW}
    assert not info.types_info[WORKFLOW].stats.approximate_backlog_count
    assert info.task_reachability == BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_UNREACHABLE
    both = TaskQueueVersionSelection(build_ids=["b"], unversioned=True)
    assert set((await described(api, api_mode=ENHANCED, versions=both)).versions_info) == {"", "b"}


async def test_refusals(api: Api) -> None:
    for queue, sentence in (
        (None, "taskQueue is not set"),
        (TaskQueue(), "missing task queue name"),
        (TaskQueue(name="x" * 1001), "taskQueue length exceeds limit"),
    ):
        assert await refusal(described(api, task_queue=queue)) == f"INVALID_ARGUMENT: {sentence}"
        partitions = ListTaskQueuePartitionsRequest(namespace=NAMESPACE, task_queue=queue)
        assert await refusal(api("ListTaskQueuePartitions", partitions)) == f"INVALID_ARGUMENT: {sentence}"
    sticky = TaskQueue(name=STICKY, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY)
    assert await refusal(described(api, task_queue=sticky, report_stats=True)) == (
        "INVALID_ARGUMENT: DescribeTaskQueue stats are only supported for the root partition"
    )
    many = TaskQueueVersionSelection(build_ids=[str(number) for number in range(101)])
    assert await refusal(described(api, api_mode=ENHANCED, versions=many)) == (
        "INVALID_ARGUMENT: Too many build ids: 101, the limit is 100."
    )


async def test_a_queue_is_one_partition(api: Api) -> None:
    request = ListTaskQueuePartitionsRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq"))
    found = await api("ListTaskQueuePartitions", request)
    assert [partition.key for partition in found.workflow_task_queue_partitions] == ["tq"]
    assert [partition.key for partition in found.activity_task_queue_partitions] == ["tq"]


# --- workers that stop ---


async def shut_down(api: Api, sticky: str = STICKY) -> None:
    await api("ShutdownWorker", ShutdownWorkerRequest(namespace=NAMESPACE, sticky_task_queue=sticky))


async def signal(api: Api, workflow_id: str) -> None:
    request = SignalWorkflowExecutionRequest(namespace=NAMESPACE, signal_name="s")
    request.workflow_execution.workflow_id = workflow_id
    await api("SignalWorkflowExecution", request)


async def cached(api: Api, workflow_id: str) -> None:
    """A run whose next task is to go to the sticky queue."""
    await start(api, workflow_id)
    task = await poll(api)
    sticky = StickyExecutionAttributes(worker_task_queue=TaskQueue(name=STICKY))
    sticky.schedule_to_start_timeout.FromSeconds(3_600)
    await api(
        "RespondWorkflowTaskCompleted",
        RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE, task_token=task.task_token, sticky_attributes=sticky
        ),
    )


async def test_a_waiting_sticky_task_goes_to_the_normal_queue(database: Database) -> None:
    async with started(database) as api:
        for workflow_id in ("one", "two"):
            await cached(api, workflow_id)
        # The worker polls its queue once, and is busy when the tasks come.
        polling = asyncio.create_task(poll(api, STICKY, sticky=True))
        await until_polled(api, STICKY)
        polling.cancel()
        await asyncio.wait([polling])
        for workflow_id in ("one", "two"):
            await signal(api, workflow_id)
        assert (
            await described(api, STICKY, include_task_queue_status=True)
        ).task_queue_status.backlog_count_hint == 2
        await shut_down(api)
        tasks = [await poll(api, identity="w2") for _ in range(2)]
        assert [task.workflow_execution.workflow_id for task in tasks] == ["one", "two"]
        assert all(task.history.events[0].event_id == 1 for task in tasks), (
            "the whole history, for a new worker"
        )
        assert not (
            await described(api, STICKY, include_task_queue_status=True)
        ).task_queue_status.backlog_count_hint


async def test_a_pending_poll_of_a_worker_that_stops_ends(api: Api) -> None:
    polling = asyncio.create_task(poll(api, STICKY, sticky=True))
    await until_polled(api, STICKY)
    await shut_down(api)
    async with asyncio.timeout(5):
        assert not (await polling).task_token


async def test_tasks_after_the_stop_go_to_the_normal_queue(api: Api) -> None:
    await cached(api, "wf")
    polling = asyncio.create_task(poll(api, STICKY, sticky=True))
    await until_polled(api, STICKY)
    await shut_down(api)
    await polling
    await signal(api, "wf")
    task = await poll(api, identity="w2")
    assert task.workflow_execution.workflow_id == "wf"


async def test_a_worker_that_polls_again_is_back(api: Api) -> None:
    await cached(api, "wf")
    await shut_down(api)
    polling = asyncio.create_task(poll(api, STICKY, sticky=True))
    await until_polled(api, STICKY)
    await signal(api, "wf")
    async with asyncio.timeout(5):
        assert (await polling).workflow_execution.workflow_id == "wf"


async def test_a_normal_queue_named_by_a_caller_loses_nothing(api: Api) -> None:
    for number in range(3):
        await start(api, f"wf{number}")
    await shut_down(api, "tq")
    tasks = [await poll(api) for _ in range(3)]
    assert [task.workflow_execution.workflow_id for task in tasks] == ["wf0", "wf1", "wf2"]


async def test_refused_shutdowns(api: Api) -> None:
    assert (
        await refusal(api("ShutdownWorker", ShutdownWorkerRequest()))
        == "INVALID_ARGUMENT: Namespace is empty."
    )
    await shut_down(api, "")
    await shut_down(api, "never-seen")
