"""Queries change nothing: nobody waits for a write, and each is counted all the same."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection, func, select
from temporalio.api.enums.v1 import QueryResultType
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, RespondQueryTaskCompletedRequest

from cloud.engine.runtime import commits
from cloud.engine.store import schema
from cloud.engine.store.database import Database
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine


async def _query(cell: Engine, workflow_id: str) -> None:
    request = QueryWorkflowRequest(namespace=NAMESPACE, query=WorkflowQuery(query_type="q"))
    request.execution.workflow_id = workflow_id
    asked = asyncio.create_task(cell.call("QueryWorkflow", request, 10))
    task = await cell.poll()
    answer = RespondQueryTaskCompletedRequest(
        namespace=NAMESPACE,
        task_token=task.task_token,
        completed_type=QueryResultType.QUERY_RESULT_TYPE_ANSWERED,
    )
    await cell.call("RespondQueryTaskCompleted", answer)
    await asked


def _counted(connection: Connection) -> int:
    u = schema.usage_records.c
    return connection.execute(select(func.count()).where(u.kind == "query_workflow")).scalar_one()


async def test_no_query_waits_for_the_disk_and_a_stop_writes_the_counts(database: Database) -> None:
    slow = FaultyDatabase(database)
    async with engine(slow) as cell:
        await cell.start("wf")
        await cell.complete(await cell.poll())
        slow.writing.close()
        for _ in range(3):
            await asyncio.wait_for(_query(cell, "wf"), 10)
        slow.writing.open()
        assert await database.read(_counted) == 0
    assert await database.read(_counted) == 3


@pytest.mark.parametrize("few", [True, False])
async def test_counts_are_written_after_a_moment_or_when_there_are_many(
    database: Database, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    monkeypatch.setattr(commits, "LATER_S", 0.2 if few else 60)
    monkeypatch.setattr(commits, "LATER_COUNT_MAX", 1_000 if few else 2)
    async with engine(database) as cell:
        await cell.start("wf")
        await cell.complete(await cell.poll())
        for _ in range(2):
            await _query(cell, "wf")
        async with asyncio.timeout(10):
            while await database.read(_counted) < 2:
                await asyncio.sleep(0.02)
