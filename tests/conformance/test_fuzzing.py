"""Random requests end in proper refusals, and leave what they are not about as it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from sqlalchemy import select
from structlog.testing import capture_logs
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue

from cloud.cells.native import NativeCell
from cloud.engine.store import schema
from cloud.rpc import CallContext, Caller, CallerKind
from tests.conformance.fuzzing import NAMESPACE, fuzz
from tests.conformance.requests import methods

COUNT = int(os.environ.get("TACIT_CONFORMANCE_FUZZ", "3000"))
SEED = int(os.environ.get("TACIT_CONFORMANCE_SEED", "1"))
BYSTANDERS = [f"bystander-{number}" for number in range(5)]
CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="test"))
DAY_S = 86_400


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as captured:
        yield captured


async def call(cell: NativeCell, name: str, request: Any) -> Any:
    return await cell.call(methods()[name], request, CONTEXT)


async def history_of(cell: NativeCell, workflow_id: str) -> bytes:
    answer = await call(
        cell,
        "GetWorkflowExecutionHistory",
        ws.GetWorkflowExecutionHistoryRequest(
            namespace="bystanders", execution=WorkflowExecution(workflow_id=workflow_id)
        ),
    )
    text: bytes = answer.history.SerializeToString(deterministic=True)
    return text


@pytest.mark.slow
@pytest.mark.timeout(60 + COUNT // 20)
async def test_random_requests(tmp_path: Path, logs: list[MutableMapping[str, Any]]) -> None:
    cell = NativeCell("local", str(tmp_path / "cell.db"))
    await cell.start()
    for namespace in (NAMESPACE, "bystanders"):
        await cell.ensure_namespace(namespace, retention_s=DAY_S)
    for workflow_id in BYSTANDERS:
        await call(
            cell,
            "StartWorkflowExecution",
            ws.StartWorkflowExecutionRequest(
                namespace="bystanders",
                workflow_id=workflow_id,
                workflow_type=WorkflowType(name="demo"),
                task_queue=TaskQueue(name="bystanders"),
                request_id=workflow_id,
            ),
        )
    before = [await history_of(cell, workflow_id) for workflow_id in BYSTANDERS]

    report = await fuzz(cell, COUNT, SEED)

    assert not report.broken, f"{len(report.broken)} of {COUNT}:\n" + "\n---\n".join(report.broken[:5])
    errors = [entry for entry in logs if entry["log_level"] in {"error", "critical", "exception"}]
    assert not errors, errors[:3]
    assert report.outcomes["OK"] > COUNT / 20, (
        "the requests are so bad that nothing behind the checks is reached"
    )
    await asyncio.sleep(0)
    await cell.stop()

    again = NativeCell("local", str(tmp_path / "cell.db"))
    await again.start()
    try:
        assert [await history_of(again, workflow_id) for workflow_id in BYSTANDERS] == before
        runs = await again.runtime.database.scan(
            lambda connection: connection.execute(select(schema.runs.c.run_id)).scalars().all()
        )
        for run_id in runs:
            await again.runtime.runs.get(run_id)  # every run rebuilds
        assert len(runs) > len(BYSTANDERS)
    finally:
        await again.stop()
    errors = [entry for entry in logs if entry["log_level"] in {"error", "critical", "exception"}]
    assert not errors, errors[:3]
