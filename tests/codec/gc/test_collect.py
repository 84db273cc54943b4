"""Collections beside real workflows, on `tacit dev` and S3: what is in use stays, what is not goes in the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleSpec,
)
from temporalio.converter import DataConverter, ExternalStorage, StorageDriverStoreContext
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from codec import ObjectStoreDriver, OffloadError
from codec.storage.gc_references import UnknownReference
from codec.storage.gc_run import Collected, Options, Source, collect
from codec.storage.gc_store import GcStore
from codec.storage.gc_walk import WalkFailed
from codec.storage.object_store import open_store
from codec.storage.references import objects_prefix
from tests.object_stores import S3, Bucket
from tests.processes import Server, tacit_dev, temporal_dev
from tests.sdk.offloading import SIZE, Child, Everything, large
from tests.sdk.test_offload_everywhere import connected, use_everything, working

FIRST = datetime.now(UTC) + timedelta(days=30)
SECOND = FIRST + timedelta(days=30)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("dev"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = temporal_dev(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.stop()


@activity.defn
async def beat() -> None:
    """Beats with a large value until it is cancelled."""
    while True:
        activity.heartbeat(large("pending-heartbeat"))
        await asyncio.sleep(0.1)


@workflow.defn
class Beating:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            beat, start_to_close_timeout=timedelta(minutes=5), heartbeat_timeout=timedelta(minutes=1)
        )


@workflow.defn
class Chained:
    """Each run of a schedule is given the last one's result, and returns another that is as large."""

    @workflow.run
    async def run(self) -> str:
        if not workflow.has_last_completion_result():
            return large(f"first-{workflow.info().run_id}")
        return f"after {workflow.get_last_completion_result(str)}"[:SIZE]


class Collector:
    """Collects the objects of the namespace of one client in one bucket."""

    def __init__(self, client: Client, bucket: Bucket) -> None:
        self.client, self.bucket = client, bucket
        self.store = GcStore(open_store(bucket.url, bucket.options), "default", files=False)

    async def at(self, moment: datetime, **more: Any) -> Collected:
        options = Options(**{"delete": True, "accept_no_references": True, "accept_unusual": True} | more)
        source = Source(service=self.client.workflow_service, namespace="default", store=self.store)
        [found] = await collect([source], options, clock=lambda: moment)
        return found

    def objects(self) -> set[str]:
        return set(self.bucket.objects(objects_prefix("default")))

    async def orphans(self, count: int, *, age: timedelta = timedelta(0)) -> None:
        """Objects that nothing points to, by their names as old as that."""
        driver = ObjectStoreDriver(
            self.bucket.url,
            namespace="default",
            options=self.bucket.options,
            clock=lambda: datetime.now(UTC) - age,
        )
        payloads = [Payload(data=uuid.uuid4().bytes * 100) for _ in range(count)]
        await driver.store(StorageDriverStoreContext(), payloads)


async def until(done: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(30):
        while not await done():
            await asyncio.sleep(0.05)


async def delete_workflow(client: Client, workflow_id: str) -> None:
    """As `temporal workflow delete` does it, all runs, and until they are gone."""
    listed = ListWorkflowExecutionsRequest(namespace="default", query=f"WorkflowId = '{workflow_id}'")
    for info in (await client.workflow_service.list_workflow_executions(listed)).executions:
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=info.execution)
        )

    async def gone() -> bool:
        return not (await client.workflow_service.list_workflow_executions(listed)).executions

    await until(gone)


async def test_only_what_nothing_points_to_goes(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    worker = Worker(
        client,
        task_queue=f"{queue}-beats",
        workflows=[Beating],
        activities=[beat],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with working(client, queue), worker:
        running = await use_everything(client, queue)
        beating = await client.start_workflow(Beating.run, id=f"{queue}-beats", task_queue=f"{queue}-beats")
        schedule = await client.create_schedule(
            f"{queue}-schedule",
            Schedule(
                action=ScheduleActionStartWorkflow(
                    Child.run, large("schedule-input"), id=f"{queue}-scheduled", task_queue=queue
                ),
                spec=ScheduleSpec(),
            ),
            memo={"note": large("schedule-memo")},
        )

        async def heartbeat_is_known() -> bool:
            pending = (await beating.describe()).raw_description.pending_activities
            return bool(pending) and bool(pending[0].heartbeat_details.payloads)

        await until(heartbeat_is_known)
        before = collector.objects()
        await collector.orphans(3)
        orphans = collector.objects() - before

        young = await collector.at(datetime.now(UTC))
        assert (young.plan.newly_marked.objects, young.deleted.objects) == (0, 0)
        dry = await collector.at(FIRST, delete=False)
        assert dry.plan.newly_marked.objects >= 3
        first = await collector.at(FIRST)
        assert (first.plan.newly_marked.objects, first.deleted.objects) == (
            dry.plan.newly_marked.objects,
            0,
        )
        assert orphans < collector.objects()
        # What queries were given and answered is in no history: it goes, too.
        second = await collector.at(SECOND)
        assert second.deleted.objects == first.plan.newly_marked.objects
        left = collector.objects()
        assert not orphans & left
        assert len(left) == second.plan.referenced.objects > 25

        # All that is in use can still be used.
        await running.signal(Everything.tell, large("last-signal"))
        assert await running.result() == large("output")
        description = await schedule.describe()
        assert await description.memo_value("note") == large("schedule-memo")
        run = await trigger(schedule)
        assert await client.get_workflow_handle(run).result() == large("schedule-result")
        pending = (await beating.describe()).raw_description.pending_activities[0].heartbeat_details.payloads
        assert await client.data_converter.decode(pending) == [large("pending-heartbeat")]
        await beating.terminate()
        replayer = Replayer(
            workflows=[Everything, Child, Beating],
            data_converter=client.data_converter,
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async for history in client.list_workflows(f"WorkflowId = '{queue}'").map_histories():
            await replayer.replay_workflow(history)

    # A history that is deleted frees what it alone pointed to.
    await delete_workflow(client, queue)
    third = await collector.at(SECOND + timedelta(days=30))
    fourth = await collector.at(SECOND + timedelta(days=60))
    assert fourth.deleted.objects == third.plan.newly_marked.objects > 10
    assert fourth.plan.referenced.objects == len(collector.objects()) > 3


async def trigger(schedule: ScheduleHandle) -> str:
    """The result of a run that the schedule starts now."""
    actions = len((await schedule.describe()).info.recent_actions)
    await schedule.trigger()

    async def has_run() -> bool:
        return len((await schedule.describe()).info.recent_actions) > actions

    await until(has_run)
    action = (await schedule.describe()).info.recent_actions[-1].action
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    return action.workflow_id


async def test_a_schedule_keeps_the_result_of_a_run_that_is_gone(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    worker = Worker(
        client, task_queue=queue, workflows=[Chained], workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with worker:
        schedule = await client.create_schedule(
            queue,
            Schedule(
                action=ScheduleActionStartWorkflow(Chained.run, id=queue, task_queue=queue),
                spec=ScheduleSpec(),
            ),
        )
        for seen_before in (True, False):
            first = await trigger(schedule)
            result = await client.get_workflow_handle(first).result()
            if seen_before:
                await collector.at(FIRST)
            await delete_workflow(client, first)
            for days in (30, 60, 90):
                found = await collector.at(FIRST + timedelta(days=days))
            assert list(found.held_by_schedules) == ([] if seen_before else [f"default/{queue}"])
            second = await trigger(schedule)
            assert await client.get_workflow_handle(second).result() == f"after {result}"[:SIZE]
        await schedule.delete()


async def test_on_temporal_s_own_server(temporal: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(temporal.address, bucket)
    collector = Collector(client, bucket)
    async with working(client, queue):
        running = await use_everything(client, queue)
        schedule = await client.create_schedule(
            f"{queue}-schedule",
            Schedule(
                action=ScheduleActionStartWorkflow(
                    Child.run, large("schedule-input"), id=f"{queue}-scheduled", task_queue=queue
                ),
                spec=ScheduleSpec(),
            ),
        )
        run = await trigger(schedule)
        assert await client.get_workflow_handle(run).result() == large("schedule-result")
        await collector.orphans(3)
        first = await collector.at(FIRST)
        assert first.plan.newly_marked.objects >= 3
        second = await collector.at(SECOND)
        assert second.deleted.objects == first.plan.newly_marked.objects
        assert len(collector.objects()) == second.plan.referenced.objects > 20
        run = await trigger(schedule)
        assert await client.get_workflow_handle(run).result() == large("schedule-result")
        await running.signal(Everything.tell, large("last-signal"))
        assert await running.result() == large("output")


async def test_a_collection_runs_beside_workers(service: Server, s3: S3) -> None:
    """Marks and deletions all the time, of objects that came to nothing, while workflows use everything."""
    bucket = s3.bucket()
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    queues = [uuid.uuid4().hex for _ in range(2)]
    done = asyncio.Event()

    async def collecting() -> int:
        deleted = 0
        while not done.is_set():
            await collector.orphans(5, age=timedelta(days=3))
            for hours in (2, 4):
                moment = datetime.now(UTC) + timedelta(hours=hours)
                deleted += (await collector.at(moment, grace=timedelta(hours=1))).deleted.objects
        return deleted

    async def using(queue: str) -> None:
        async with working(client, queue):
            handle = await use_everything(client, queue)
            await handle.signal(Everything.tell, large("last-signal"))
            assert await handle.result() == large("output")

    collections = asyncio.create_task(collecting())
    try:
        await asyncio.gather(*map(using, queues))
    finally:
        done.set()
    assert await collections >= 5


class Refusing:
    """A service that refuses one call."""

    def __init__(self, service: Any, method: str) -> None:
        self._service, self._method = service, method

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._service, name)

        async def refuse(*_: object, **__: object) -> None:
            raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")

        return refuse


@pytest.mark.parametrize(
    "method",
    [
        "list_workflow_executions",
        "get_workflow_execution_history",
        "describe_workflow_execution",
        "list_schedules",
        "describe_schedule",
        "list_activity_executions",
        "describe_activity_execution",
        "list_nexus_operation_executions",
    ],
)
async def test_what_cannot_be_read_stops_it(service: Server, s3: S3, method: str) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    await collector.orphans(1)
    await collector.at(FIRST)
    handle = await client.start_workflow(Child.run, large("input"), id=queue, task_queue=queue)
    schedule = await client.create_schedule(
        queue,
        Schedule(
            action=ScheduleActionStartWorkflow(Child.run, large("input"), id=queue, task_queue=queue),
            spec=ScheduleSpec(),
        ),
    )
    alone = await client.start_activity(
        "any", id=queue, task_queue=queue, start_to_close_timeout=timedelta(minutes=1)
    )
    before = collector.objects()
    source = Source(
        service=Refusing(client.workflow_service, method), namespace="default", store=collector.store
    )
    with pytest.raises(
        WalkFailed, match=r"can't be read: not for you .permission_denied.*Nothing is deleted"
    ):
        await collect([source], Options(delete=True, accept_no_references=True), clock=lambda: SECOND)
    assert collector.objects() == before
    await handle.terminate()
    await schedule.delete()
    await alone.terminate()


async def test_another_driver_s_reference_stops_it(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex

    class Other(ObjectStoreDriver):
        async def store(self, context: Any, payloads: Any) -> Any:
            claims = await super().store(context, payloads)
            for claim in claims:
                digest = claim.claim_data["sha256"]
                object.__setattr__(claim, "claim_data", {"bucket": "b", "key": digest[:32]})
            return claims

    driver = Other(bucket.url, namespace="default", options=bucket.options, name="others.driver")
    storage = ExternalStorage(drivers=[driver], payload_size_threshold=1000)
    client = await Client.connect(service.address, data_converter=DataConverter(external_storage=storage))
    handle = await client.start_workflow(Child.run, queue * 100, id=queue, task_queue=queue)
    collector = Collector(client, bucket)
    with pytest.raises(UnknownReference, match=rf"Workflow '{queue}'.*'others\.driver'.*--other-driver"):
        await collector.at(FIRST)
    found = await collector.at(FIRST, other_drivers=["others.driver"])
    assert found.plan.newly_marked.objects == 1
    await handle.terminate()
    await delete_workflow(client, queue)


async def test_a_bucket_that_nothing_points_to_is_taken_for_the_wrong_one(service: Server, s3: S3) -> None:
    collector = Collector(await connected(service.address, None), s3.bucket())
    await collector.orphans(2)
    await collector.at(FIRST, accept_no_references=False)
    with pytest.raises(OffloadError, match=r"is this the service whose workflows wrote them\?"):
        await collector.at(SECOND, accept_no_references=False)
    assert len(collector.objects()) == 2


async def test_readers_of_other_namespaces_must_be_asked(service: Server, s3: S3) -> None:
    bucket = s3.bucket()
    client = await connected(service.address, None)
    collector = Collector(client, bucket)
    await collector.orphans(1)
    reader = ObjectStoreDriver(
        bucket.url, namespace="reader.acme", readable_namespaces=["default"], options=bucket.options
    )
    await reader.store(StorageDriverStoreContext(), [Payload(data=b"x")])
    with pytest.raises(OffloadError, match=r"Workflows of 'reader\.acme' may refer to objects of 'default'"):
        await collector.at(FIRST)
    await collector.at(FIRST, accept_unknown_readers=True)
