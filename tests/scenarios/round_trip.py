"""Every run that a scenario brought about is exported, imported into another cell, and found there as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import IndexedValueType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cloud.cli.history import read_run, send_run
from cloud.engine.api.history_imports import ExportedRun
from tests.processes import free_port

from .workers import SEARCH_ATTRIBUTES

NAMESPACE = "imported"
READ_ATTEMPTS_MAX = 5
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING

COMPARED = (
    "execution_config",
    "workflow_execution_info",
    "workflow_extended_info",
    "pending_workflow_task",
    "pending_activities",
    "pending_children",
    "pending_nexus_operations",
    "callbacks",
)
"""Of a description. What else is told must be restored too, and be added here, by whoever adds it."""

# What belongs to a cell (its namespace's id), to the moment in which one looks, or to a worker's call.
_INFO_ASIDE = ("parent_namespace_id", "auto_reset_points", "versioning_info")
_ACTIVITY_ASIDE = ("next_attempt_schedule_time", "current_retry_interval", "state")


class Importer:
    """The cell that runs are imported into."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.imported = 0
        self.refused = 0

    async def check(self, source: Client, workflow_ids: Sequence[str]) -> None:
        """Import all runs of these workflows as they are now, and compare them."""
        target = await Client.connect(self.address, namespace=NAMESPACE)
        for workflow_id in workflow_ids:
            for run_id in await _runs_of(source, workflow_id):
                await self._check_run(source, target, workflow_id, run_id)

    async def _check_run(self, source: Client, target: Client, workflow_id: str, run_id: str) -> None:
        run = await self._import(source, workflow_id, run_id)
        if run is None:
            return
        self.imported += 1
        found = await read_run(target, workflow_id, run_id)
        told, here = _comparable(run.events), _comparable(found.events)
        assert here[: len(told)] == told
        assert _bytes(here[: len(told)]) == _bytes(told)
        if len(here) == len(told):  # else something became due in it already, and it went on
            for field in COMPARED:
                assert _told(found, field) == _told(run, field), f"{workflow_id} {run_id}: {field}"
        assert run.description is not None
        if run.description.workflow_execution_info.status == RUNNING:
            await target.workflow_service.terminate_workflow_execution(
                ws.TerminateWorkflowExecutionRequest(
                    namespace=NAMESPACE, workflow_execution=run.execution, reason="compared"
                )
            )

    async def _import(self, source: Client, workflow_id: str, run_id: str) -> ExportedRun | None:
        """Export and import a run; None if it is gone or not settled."""
        attempts = 0
        while True:
            attempts += 1
            try:
                run = await read_run(source, workflow_id, run_id)
            except RPCError as error:
                if error.status == RPCStatusCode.NOT_FOUND:
                    return None  # deleted meanwhile
                raise
            with grpc.insecure_channel(self.address) as channel:
                try:
                    send_run(channel, NAMESPACE, run)
                except grpc.RpcError as error:
                    if "read both anew" in str(error.details()) and attempts < READ_ATTEMPTS_MAX:
                        continue  # something happened to it while it was read
                    # Not settled: a worker holds its task, or work on other runs is under way. All else is a defect.
                    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                        raise AssertionError(error.details()) from error
                    self.refused += 1
                    return None
            return run


async def _runs_of(client: Client, workflow_id: str) -> list[str]:
    escaped = workflow_id.replace("'", "''")
    found = await client.workflow_service.list_workflow_executions(
        ws.ListWorkflowExecutionsRequest(namespace=client.namespace, query=f"WorkflowId = '{escaped}'")
    )
    # The oldest first: an open run takes the place of those before it.
    return [info.execution.run_id for info in reversed(found.executions)]


def _comparable(events: Sequence[HistoryEvent]) -> list[HistoryEvent]:
    # The events of a transient workflow task are shown at the end, and are not of the history.
    return [event for event in events if event.task_id]


def _bytes(events: Sequence[HistoryEvent]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


def _told(run: ExportedRun, field: str) -> object:
    description = ws.DescribeWorkflowExecutionResponse()
    assert run.description is not None
    description.CopyFrom(run.description)
    for name in _INFO_ASIDE:
        description.workflow_execution_info.ClearField(name)  # type: ignore[arg-type]
    description.workflow_extended_info.time_skipping_info.ClearField("current_time")
    for pending in description.pending_activities:
        for name in _ACTIVITY_ASIDE:
            pending.ClearField(name)  # type: ignore[arg-type]
    value = getattr(description, field)
    if field == "callbacks" or (field.startswith("pending_") and not field.endswith("task")):
        return sorted(each.SerializeToString(deterministic=True) for each in value)
    return value


@contextmanager
def importing_cell(folder: Path) -> Iterator[Importer]:
    """A `tacit dev` of its own, stopped at the end."""
    port = free_port()
    types = {
        kind: IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").replace("_", "").lower()
        for kind in SEARCH_ATTRIBUTES.values()
    }
    attributes = [
        text
        for name, kind in SEARCH_ATTRIBUTES.items()
        for text in ("--search-attribute", f"{name}={types[kind]}")
    ]
    with (folder / "importing.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "tacit"),
                "dev",
                *("--port", str(port), "--namespace", NAMESPACE, *attributes),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Importer(f"127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
