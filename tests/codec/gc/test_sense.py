"""What looks as if a service hid something is refused, and nothing is marked or deleted, until a person knows why."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec
from temporalio.service import RPCError, RPCStatusCode

from codec import OffloadError
from codec.storage.gc import Mark, Memory, Plan, Showed, Stored, Tally
from codec.storage.gc_run import Options, Source, collect
from codec.storage.gc_sense import SHOWN_MIN, doubts_of_plan, doubts_of_service, refers_to_nothing
from codec.storage.gc_walk import WalkFailed
from tests.codec.gc.test_collect import FIRST, SECOND, Collector
from tests.object_stores import S3
from tests.processes import Server, tacit_dev
from tests.sdk.offloading import Child, large
from tests.sdk.test_offload_everywhere import connected

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
THIRD = SECOND + timedelta(days=30)


class TestRules:
    @pytest.mark.parametrize("what", ["workflows", "schedules", "standalone"])
    def test_each_kind_is_compared_with_the_last_run(self, what: str) -> None:
        def doubts(now: int, before: int | None) -> list[str]:
            last = None if before is None else Showed(**{what: before})  # type: ignore[arg-type]
            return doubts_of_service("orders", Showed(**{what: now}), last)  # type: ignore[arg-type]

        assert not doubts(0, None)
        assert not doubts(0, SHOWN_MIN - 1)
        assert not doubts(SHOWN_MIN // 2, SHOWN_MIN)
        assert not doubts(1000, 100)
        [said] = doubts(SHOWN_MIN // 2 - 1, SHOWN_MIN)
        assert f"of 'orders', and showed {SHOWN_MIN} at the last run" in said
        assert "(--unusual)" in said

    def test_kinds_do_not_disappear(self) -> None:
        last = Showed(absent=("schedules",))
        assert not doubts_of_service("orders", last, last)
        assert not doubts_of_service("orders", Showed(), last)
        [said] = doubts_of_service("orders", Showed(absent=("schedules", "standalone activities")), last)
        assert "it has no standalone activities, and had them in 'orders'" in said

    @pytest.mark.parametrize(
        ("due", "referenced", "every", "doubted"),
        [(5, 5, 10, False), (6, 4, 10, True), (6, 1, 10, True), (0, 0, 10, False), (10, 0, 10, False)],
    )
    def test_how_much_goes_at_once(self, due: int, referenced: int, every: int, doubted: bool) -> None:
        plan = Plan(
            all=Tally(objects=every),
            referenced=Tally(objects=referenced),
            due_tally=Tally(objects=due),
            due=[Stored(key="k", size=1, modified=NOON)] * due,
        )
        assert bool(doubts_of_plan("orders", "s3://b", plan)) == doubted
        # That is another question, with a flag of its own.
        assert refers_to_nothing(plan) == (due > 0 and not referenced)

    def test_what_was_shown_is_remembered(self) -> None:
        showed = Showed(workflows=3, schedules=2, standalone=1, absent=("schedules",))
        memory = Memory(marks={"k": Mark(size=1, modified=NOON, marked=NOON)}, showed={"orders": showed})
        assert Memory.of(memory.to_bytes()) == memory
        assert showed + showed == Showed(workflows=6, schedules=4, standalone=2, absent=("schedules",))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("dev"))
    server.start()
    yield server
    server.stop()


class Lying:
    """A service that shows some workflows only, and says of some calls that it has none such, from the nth time on."""

    def __init__(self, service: Any, *, shows: int | None = None, lacks: str = "", since: int = 0) -> None:
        self._service, self._shows, self._lacks, self._since = service, shows, lacks, since

    def __getattr__(self, name: str) -> Any:
        if name == self._lacks:
            return self._refuse
        if name == "list_workflow_executions" and self._shows is not None:
            return self._some
        return getattr(self._service, name)

    async def _some(self, request: Any, **more: Any) -> Any:
        page = await self._service.list_workflow_executions(request, **more)
        del page.executions[self._shows :]
        page.next_page_token = b""
        return page

    async def _refuse(self, request: Any, **more: Any) -> Any:
        self._since -= 1
        if self._since >= 0:
            return await getattr(self._service, self._lacks)(request, **more)
        raise RPCError("no such method", RPCStatusCode.UNIMPLEMENTED, b"")


async def collected(collector: Collector, service: Any, moment: datetime, **more: Any) -> Any:
    source = Source(service=service, namespace="default", store=collector.store)
    [found] = await collect([source], Options(**{"delete": True} | more), clock=lambda: moment)
    return found


async def test_a_service_that_hides_workflows_gets_nothing_marked_or_deleted(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client: Client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    handles = [
        await client.start_workflow(
            Child.run, large(f"{queue}-{number}"), id=f"{queue}-{number}", task_queue=queue
        )
        for number in range(SHOWN_MIN + 5)
    ]
    await collector.orphans(1)
    before = collector.objects()
    lying = Lying(client.workflow_service, shows=3)
    honest = client.workflow_service
    await collected(collector, honest, FIRST)
    for moment in (FIRST, SECOND, THIRD):
        with pytest.raises(
            OffloadError, match=r"shows 3 workflows.*showed 25.*--unusual\). Nothing is deleted"
        ):
            await collected(collector, lying, moment)
        assert collector.objects() == before
    # Without deleting it is told.
    dry = await collected(collector, lying, SECOND, delete=False)
    assert "showed 25 at the last run" in dry.doubts[0]
    # What was marked by the honest run goes; nothing that is in use was ever marked.
    done = await collected(collector, honest, THIRD)
    assert (done.doubts, done.deleted.objects) == ([], 1)
    # Who says so, has it so.
    assert (await collected(collector, lying, THIRD, accept_unusual=True)).plan.newly_marked.objects == 22
    for handle in handles:
        await handle.terminate()


@pytest.mark.parametrize(
    "method", ["list_schedules", "list_activity_executions", "list_nexus_operation_executions"]
)
async def test_kinds_that_a_service_had(service: Server, s3: S3, method: str) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    handle = await client.start_workflow(Child.run, large(queue), id=queue, task_queue=queue)
    schedule = await client.create_schedule(
        queue,
        Schedule(
            action=ScheduleActionStartWorkflow(Child.run, large("s"), id=queue, task_queue=queue),
            spec=ScheduleSpec(),
        ),
    )
    lacking = Lying(client.workflow_service, lacks=method)
    # At the first run nobody knows; what was so then may stay so.
    for moment in (FIRST, FIRST):
        assert (await collected(collector, lacking, moment, accept_unusual=False)).doubts == []
    await collected(collector, client.workflow_service, FIRST)
    before = collector.objects()
    for moment in (SECOND, THIRD):
        with pytest.raises(
            OffloadError, match=r"says that it has no .* and had them in 'default'.*--unusual"
        ):
            await collected(collector, lacking, moment)
    assert collector.objects() == before
    # It has to say so at once, and each time.
    with pytest.raises(WalkFailed, match="that it has none"):
        await collected(
            collector, Lying(client.workflow_service, lacks=method, since=1), SECOND, accept_unusual=True
        )
    await handle.terminate()
    await schedule.delete()


async def test_most_objects_at_once(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    collector = Collector(client, bucket)
    handle = await client.start_workflow(Child.run, large(queue), id=queue, task_queue=queue)
    await collector.orphans(2)
    await collected(collector, client.workflow_service, FIRST)
    with pytest.raises(OffloadError, match=r"2 of the 3 objects of 'default' in s3://.* are due.*--unusual"):
        await collected(collector, client.workflow_service, SECOND)
    assert len(collector.objects()) == 3
    done = await collected(collector, client.workflow_service, SECOND, accept_unusual=True)
    assert done.deleted.objects == 2
    await handle.terminate()
