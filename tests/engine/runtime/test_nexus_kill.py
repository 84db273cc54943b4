"""A process with operations and callbacks on their way is killed again and again: each operation ends once, none is forgotten."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nexusrpc
import pytest
from nexusrpc.handler import service_handler
from temporalio import nexus, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.processes import free_port

KILLS = 3
CALLERS = 30
QUEUE = "tq"
ENDPOINT = "endpoint"


@nexusrpc.service
class Service:
    work: nexusrpc.Operation[int, int]


@workflow.defn
class Work:
    @workflow.run
    async def run(self, number: int) -> int:
        await asyncio.sleep(0.05 * (number % 20))
        return number * 2


@service_handler(service=Service)
class Handler:
    @nexus.workflow_run_operation
    async def work(self, ctx: nexus.WorkflowRunOperationContext, number: int) -> nexus.WorkflowHandle[int]:
        return await ctx.start_workflow(Work.run, number, id=f"work-{ctx.request_id}")


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, number: int) -> int:
        await asyncio.sleep(0.1 * number)
        client = workflow.create_nexus_client(service=Service, endpoint=ENDPOINT)
        return await client.execute_operation(Service.work, number)


def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        *(str(Path(sys.executable).parent / "tacit"), "dev", "--headless"),
        *("--port", str(port), "--http-port", "0", "--db", str(folder / "cell.db")),
    ]
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


async def connected(port: int) -> Client:
    deadline = time.monotonic() + 20
    while True:
        try:
            return await Client.connect(f"127.0.0.1:{port}")
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def kill_again_and_again(
    port: int, folder: Path, process: subprocess.Popen[bytes]
) -> subprocess.Popen[bytes]:
    for _ in range(KILLS):
        await asyncio.sleep(1.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start(port, folder)
    return process


@pytest.mark.slow
async def test_each_operation_ends_once_however_often_the_process_is_killed(tmp_path: Path) -> None:
    port = free_port()
    process = start(port, tmp_path)
    try:
        client = await connected(port)
        target = EndpointTarget(worker=EndpointTarget.Worker(namespace="default", task_queue=QUEUE))
        spec = EndpointSpec(name=ENDPOINT, target=target)
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Caller, Work],
            nexus_service_handlers=[Handler()],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        prefix = uuid.uuid4().hex[:8]
        async with worker:
            handles = [
                await client.start_workflow(Caller.run, n, id=f"{prefix}-{n}", task_queue=QUEUE)
                for n in range(CALLERS)
            ]
            standalone = client.create_nexus_client(service=Service, endpoint=ENDPOINT)
            operations = [
                await standalone.start_operation(Service.work, n, id=f"{prefix}-{n}") for n in range(CALLERS)
            ]
            process = await kill_again_and_again(port, tmp_path, process)
            for number, operation in enumerate(operations):
                while True:
                    try:
                        assert await operation.result() == number * 2
                        break
                    except RPCError:
                        await asyncio.sleep(0.2)
            for number, handle in enumerate(handles):
                while True:
                    try:
                        assert await handle.result() == number * 2
                        break
                    except RPCError:
                        await asyncio.sleep(0.2)
            for handle in handles:
                types = [event.event_type async for event in handle.fetch_history_events()]
                for kind in (
                    EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
                    EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED,
                    EventType.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
                ):
                    assert types.count(kind) == 1
            works = [run async for run in client.list_workflows("WorkflowType = 'Work'")]
            assert len(works) == CALLERS * 2
            for work in works:
                described = (await client.get_workflow_handle(work.id).describe()).raw_description
                assert [callback.attempt for callback in described.callbacks] == [1]
    finally:
        process.kill()
        process.wait()
