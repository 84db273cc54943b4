"""How servers stop: what waits is answered at once, what runs has a grace, and who asks twice does not wait for it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import HistoryEventFilterType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from tests.processes import BIN, COMMAND_SECONDS_MAX

SOON_S = 3.0
"""Well below the grace of 5 seconds."""

EXECUTION = WorkflowExecution(workflow_id="w")


@contextmanager
def serving(folder: Path, transport: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A development server, and its addresses for gRPC and HTTP."""
    command = [BIN / "tacit", "dev", "--port", "0", "--transport", transport, "--output", "json"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            yield server, told["address"], told["http_address"]
        finally:
            server.kill()


async def started(stub: WorkflowServiceStub) -> None:
    await stub.StartWorkflowExecution(
        StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id="w",
            workflow_type=WorkflowType(name="W"),
            task_queue=TaskQueue(name="nobody"),
            request_id="r",
        )
    )


def query() -> QueryWorkflowRequest:
    return QueryWorkflowRequest(namespace="default", execution=EXECUTION, query=WorkflowQuery(query_type="q"))


@pytest.mark.parametrize("transport", ["http2", "grpc"])
async def test_what_waits_is_answered_at_once(tmp_path: Path, transport: str) -> None:
    with serving(tmp_path, transport) as (server, address, http_address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub = WorkflowServiceStub(channel)
            await started(stub)
            queue = TaskQueue(name="q")
            polls = [
                stub.PollWorkflowTaskQueue(
                    PollWorkflowTaskQueueRequest(namespace="default", task_queue=queue), timeout=60
                ),
                stub.PollActivityTaskQueue(
                    PollActivityTaskQueueRequest(namespace="default", task_queue=queue), timeout=60
                ),
                stub.PollNexusTaskQueue(
                    PollNexusTaskQueueRequest(namespace="default", task_queue=queue), timeout=60
                ),
            ]
            result = stub.GetWorkflowExecutionHistory(
                GetWorkflowExecutionHistoryRequest(
                    namespace="default",
                    execution=EXECUTION,
                    wait_new_event=True,
                    history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
                ),
                timeout=60,
            )
            stage = UpdateWorkflowExecutionLifecycleStage
            update = stub.UpdateWorkflowExecution(
                UpdateWorkflowExecutionRequest(
                    namespace="default",
                    workflow_execution=EXECUTION,
                    wait_policy=WaitPolicy(
                        lifecycle_stage=stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
                    ),
                    request=Request(meta=Meta(update_id="u"), input=Input(name="n")),
                ),
                timeout=60,
            )
            host, _, port = http_address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            path = "/api/v1/namespaces/default/workflows/w/history?waitNewEvent=true&historyEventFilterType=2"
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            await asyncio.sleep(0.5)
            server.terminate()
            asked_at = time.monotonic()
            assert [bool((await poll).task_token) for poll in polls] == [False, False, False]
            assert (await result).next_page_token
            assert (await update).stage == stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
            assert b"200 OK" in await reader.read()
            writer.close()
        assert await asyncio.to_thread(server.wait, COMMAND_SECONDS_MAX) == 0
        assert time.monotonic() - asked_at < SOON_S
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()


@pytest.mark.parametrize("transport", ["http2", "grpc"])
async def test_who_asks_twice_does_not_wait(tmp_path: Path, transport: str) -> None:
    with serving(tmp_path, transport) as (server, address, http_address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub = WorkflowServiceStub(channel)
            await started(stub)
            asked = stub.QueryWorkflow(query(), timeout=60)
            host, _, port = http_address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            path = "/api/v1/namespaces/default/workflows/w/query/q"
            head = "host: localhost\r\ncontent-length: 2\r\ncontent-type: application/json"
            writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}".encode())
            await asyncio.sleep(0.5)
            server.send_signal(signal.SIGINT)
            await asyncio.sleep(0.5)
            assert server.poll() is None
            assert not asked.done()
            server.send_signal(signal.SIGINT)
            asked_at = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await reader.read()
            writer.close()
        assert await asyncio.to_thread(server.wait, COMMAND_SECONDS_MAX) == 0
        assert time.monotonic() - asked_at < SOON_S
