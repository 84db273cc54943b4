"""A batch operation does its work once to each run, whatever happens to the process and the database meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from temporalio.api.batch.v1 import (
    BatchOperationDeletion,
    BatchOperationSignal,
    BatchOperationUpdateWorkflowExecutionOptions,
)
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
)

from cloud.engine.api import batch_operations as methods
from cloud.engine.core.limits import Limits
from cloud.engine.runtime import batch_operations
from cloud.engine.store import schema as s
from cloud.engine.store.batch_operations import delete_old_batch_operations
from cloud.engine.store.database import Database, ListRefused, TooManyLists
from cloud.engine.store.deleting import delete_rest
from cloud.rpc import NotFound, ResourceExhausted, RpcError, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

RUNS = 12
RUNNING = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED


@pytest.fixture(autouse=True)
def quick_and_unforgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits; and no request id is known again, so that a signal sent twice would be in the history twice."""
    monkeypatch.setattr(batch_operations, "RETRY_S", 0.05)
    monkeypatch.setattr(
        methods, "uuid", SimpleNamespace(uuid5=lambda *_: uuid.uuid4(), NAMESPACE_OID=uuid.NAMESPACE_OID)
    )


async def begin(found: Engine, job_id: str = "job", **fields: object) -> None:
    usual: dict[str, object] = {"visibility_query": "WorkflowType = 'demo'"}
    if "executions" in fields:
        usual = {}
    if not any(name.endswith("_operation") for name in fields):
        usual["signal_operation"] = BatchOperationSignal(signal="s", identity="me")
    request = StartBatchOperationRequest(
        namespace=NAMESPACE,
        job_id=job_id,
        reason="why",
        **(usual | fields),  # type: ignore[arg-type]
    )
    await found.call("StartBatchOperation", request)


async def job(found: Engine, job_id: str = "job") -> DescribeBatchOperationResponse:
    request = DescribeBatchOperationRequest(namespace=NAMESPACE, job_id=job_id)
    reply: DescribeBatchOperationResponse = await found.call("DescribeBatchOperation", request)
    return reply


async def reached(found: Engine, count: int) -> None:
    """Wait until the job has done `count` operations."""
    async with asyncio.timeout(20):
        while (await job(found)).complete_operation_count < count:
            await asyncio.sleep(0.005)


async def ended(found: Engine, job_id: str = "job") -> DescribeBatchOperationResponse:
    async with asyncio.timeout(20):
        while True:
            try:
                described = await job(found, job_id)
            except Unavailable:
                continue
            if described.state != RUNNING:
                return described
            await asyncio.sleep(0.01)


async def runs(found: Engine, count: int = RUNS) -> list[str]:
    ids = [f"wf{number}" for number in range(count)]
    for workflow_id in ids:
        await found.start(workflow_id)
    return ids


async def signalled(found: Engine, ids: list[str]) -> Counter[int]:
    """How many runs have how many signals."""
    return Counter([len(await found.signals(workflow_id)) for workflow_id in ids])


async def test_a_restart_goes_on_where_it_stopped(database: Database) -> None:
    async with engine(database) as first:
        ids = await runs(first)
        await begin(first)
        await reached(first, 3)
    async with engine(database) as second:
        described = await ended(second)
        assert (described.state, described.complete_operation_count) == (COMPLETED, RUNS)
        assert await signalled(second, ids) == {1: RUNS}


@pytest.mark.parametrize("done", [1, 4, 9])
async def test_a_crash_neither_leaves_out_nor_repeats(database: Database, done: int) -> None:
    lost: list[str] = []
    async with engine(FaultyDatabase(database, exclusive=False), lost.append) as first:
        ids = await runs(first)
        await begin(first)
        await reached(first, done)
        # Another process takes over: what the first one has not flushed by then never happened.
        async with engine(FaultyDatabase(database, exclusive=True)) as second:
            described = await ended(second)
            assert (described.state, described.complete_operation_count) == (COMPLETED, RUNS)
            assert await signalled(second, ids) == {1: RUNS}


async def test_failed_flushes_neither_leave_out_nor_repeat(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        ids = await runs(found)
        await begin(found, max_operations_per_second=40)
        for count in (2, 5, 8):
            await reached(found, count)
            faulty.fail_next = 1
        described = await ended(found)
        assert (described.state, described.complete_operation_count) == (COMPLETED, RUNS)
        assert await signalled(found, ids) == {1: RUNS}


async def test_a_list_of_executions_goes_on_too(database: Database) -> None:
    async with engine(database) as first:
        ids = await runs(first)
        await begin(first, executions=[WorkflowExecution(workflow_id=workflow_id) for workflow_id in ids])
        await reached(first, 3)
    async with engine(database) as second:
        described = await ended(second)
        assert (described.total_operation_count, described.complete_operation_count) == (RUNS, RUNS)
        assert await signalled(second, ids) == {1: RUNS}


async def test_deletion_goes_on_after_a_crash(database: Database) -> None:
    async with engine(FaultyDatabase(database, exclusive=False)) as first:
        ids = await runs(first)
        await first.terminate(ids[0])
        await begin(first, deletion_operation=BatchOperationDeletion())
        await reached(first, 3)
        async with engine(FaultyDatabase(database, exclusive=True)) as second:
            assert (await ended(second)).state == COMPLETED
            for workflow_id in ids:
                with pytest.raises(NotFound):
                    await second.status(workflow_id)


async def test_more_runs_than_a_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_operations, "PAGE_RUNS", 5)
    async with engine(database) as found:
        ids = await runs(found)
        await begin(found)
        assert (await ended(found)).complete_operation_count == RUNS
        assert await signalled(found, ids) == {1: RUNS}


async def test_usage_is_that_of_the_operations(database: Database) -> None:
    async with engine(database) as found:
        await runs(found, 3)
        await begin(found)
        await ended(found)
        options = BatchOperationUpdateWorkflowExecutionOptions()
        options.workflow_execution_options.priority.CopyFrom(Priority(priority_key=2))
        options.update_mask.paths.append("priority")
        await begin(found, "options", update_workflow_options_operation=options)
        await ended(found, "options")
        kinds = await found.runtime.database.scan(
            lambda c: Counter(c.execute(select(s.usage_records.c.kind)).scalars())
        )
    assert kinds == {"start_workflow": 3, "signal_workflow": 3, "update_workflow_options": 3}


async def test_a_run_that_refuses_counts_as_failed(database: Database) -> None:
    async with engine(database) as found:
        await runs(found, 2)
        options = BatchOperationUpdateWorkflowExecutionOptions()
        options.workflow_execution_options.versioning_override.SetInParent()
        options.update_mask.paths.append("versioning_override")
        await begin(found, update_workflow_options_operation=options)
        described = await ended(found)
        assert described.state == COMPLETED
        assert (described.total_operation_count, described.failure_operation_count) == (2, 2)


async def test_the_rate_is_kept(database: Database) -> None:
    async with engine(database) as found:
        await runs(found, 6)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        await begin(found, max_operations_per_second=10)
        await ended(found)
        assert loop.time() - begun_at >= 0.5
        assert 1 / Limits().batch_operations_per_second < 0.5 / 6, "else the test would show nothing"


async def test_stop(database: Database) -> None:
    async with engine(database) as found:
        ids = await runs(found)
        await begin(found, max_operations_per_second=10)
        await reached(found, 2)
        with pytest.raises(ResourceExhausted):
            await begin(found, "another")
        request = StopBatchOperationRequest(namespace=NAMESPACE, job_id="job", reason="enough")
        await found.call("StopBatchOperation", request)
        described = await job(found)
        assert described.state == FAILED
        assert described.HasField("close_time")
        done = described.complete_operation_count
        assert 2 <= done < RUNS
        await begin(found, "another", max_operations_per_second=1000)
        await ended(found, "another")
        assert await signalled(found, ids) == {1: RUNS - done, 2: done}
    async with engine(database) as again:
        assert (await job(again)).state == FAILED
        listed = await again.call("ListBatchOperations", ListBatchOperationsRequest(namespace=NAMESPACE))
        assert [info.job_id for info in listed.operation_info] == ["another", "job"]


async def test_a_stop_that_is_not_durable_is_told(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        ids = await runs(found, 4)
        await begin(found, max_operations_per_second=5)
        await reached(found, 1)
        await asyncio.sleep(0.05)
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await found.call(
                "StopBatchOperation",
                StopBatchOperationRequest(namespace=NAMESPACE, job_id="job", reason="enough"),
            )
        assert (await ended(found)).state == COMPLETED
        assert await signalled(found, ids) == {1: 4}


async def test_a_start_that_is_not_durable_leaves_nothing(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        ids = await runs(found, 2)
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await begin(found)
        with pytest.raises(NotFound):
            await job(found)
        await begin(found)
        await ended(found)
        assert await signalled(found, ids) == {1: 2}


async def test_a_defect_ends_the_job(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of the test")

    monkeypatch.setattr(methods._Operations, "_signal_operation", broken)
    async with engine(database) as found:
        await runs(found, 2)
        await begin(found)
        assert (await ended(found)).state == FAILED


async def test_old_ones_and_those_of_a_deleted_namespace_go(database: Database) -> None:
    async with engine(database) as found:
        for number in range(2):
            await begin(found, f"job{number}")
            await ended(found, f"job{number}")
        epoch, now = found.runtime.lease.epoch, found.runtime.clock.now()
        await found.runtime.database.write(lambda c: delete_old_batch_operations(c, "ns-id", 1, epoch))
        await job(found, "job0")
        await found.runtime.database.write(lambda c: delete_old_batch_operations(c, "ns-id", now, epoch))
        with pytest.raises(RpcError):
            await job(found, "job0")
        await begin(found, "job2")
        await ended(found, "job2")
        await found.runtime.database.write(lambda c: delete_rest(c, "ns-id", epoch))
        with pytest.raises(NotFound):
            await job(found, "job2")


async def test_a_list_that_has_to_wait_its_turn_is_asked_again(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        faulty.fail_lists = [TooManyLists("others run")]
        await begin(found)
        assert (await ended(found)).state == COMPLETED
        assert not faulty.fail_lists


async def test_a_query_that_takes_too_long_fails_the_job(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        faulty.fail_lists = [ListRefused("too long")]
        await begin(found)
        assert (await ended(found)).state == FAILED
