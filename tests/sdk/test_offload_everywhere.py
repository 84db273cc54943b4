"""All that the SDK moves is offloaded, and references live as long as what refers to them: by way of everything that Temporal
moves payloads by, through resets, schedules and an import into another service.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowHandle,
)
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

import sdk
from tests.object_stores import S3, Bucket
from tests.processes import Server, tacit, tacit_dev
from tests.sdk.offloading import (
    ACTIVITIES,
    WORKFLOWS,
    Child,
    EchoingHandler,
    Everything,
    Listener,
    large,
    work,
)

CANARY = re.compile(rb"canary-[a-z-]+")


class Recorder:
    """A TCP proxy that keeps all that passes, both ways."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self.passed = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, target))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            self.passed += data
            target.write(data)
            await target.drain()
        target.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("dev"))
    server.start()
    yield server
    server.stop()


async def connected(address: str, bucket: Bucket | None) -> Client:
    """A client whose payloads are readable, so that what is not offloaded shows."""
    options = sdk.DataConverterOptions(
        namespace="default",
        key_ring=None,
        compression=False,
        object_store=bucket.url if bucket else None,
        object_store_options=bucket.options if bucket else {},
        offload_threshold_bytes=1000,
    )
    return await Client.connect(address, data_converter=sdk.data_converter(options))


@asynccontextmanager
async def working(client: Client, queue: str) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        nexus_service_handlers=[EchoingHandler()],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


async def endpoint_of(client: Client, queue: str) -> str:
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace="default", task_queue=queue))
    name = f"echoing-{queue[:8]}"
    await client.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(spec=EndpointSpec(name=name, target=target))
    )
    return name


async def use_everything(client: Client, queue: str) -> WorkflowHandle[Everything, str]:
    """Run the workflow to its last run, which waits for a signal; a worker must be there."""
    endpoint = await endpoint_of(client, queue)
    listener = await client.start_workflow(Listener.run, id=f"{queue}-listener", task_queue=queue)
    handle = await client.start_workflow(
        Everything.run,
        args=[large("input"), endpoint],
        id=queue,
        task_queue=queue,
        memo={"note": large("memo")},
        static_summary=large("static-summary"),
        start_signal="tell",
        start_signal_args=[large("signal")],
    )
    assert await listener.result() == large("external-signal")
    assert await handle.query(Everything.told, large("query-input")) == large("query-result")
    assert await handle.execute_update(Everything.add, large("update")) == large("update-result")
    description = await client.get_workflow_handle(queue).describe()
    assert await description.memo_value("note") == large("memo")
    alone = await client.execute_activity(
        work, "alone", id=f"{queue}-alone", task_queue=queue, start_to_close_timeout=timedelta(seconds=60)
    )
    assert alone == large("alone-result")
    async with asyncio.timeout(30):
        while (await client.get_workflow_handle(queue).describe()).run_id == handle.first_execution_run_id:
            await asyncio.sleep(0.05)
    return client.get_workflow_handle_for(Everything.run, queue)


def canaries(service: Server, recorder: Recorder) -> set[str]:
    stored = b"".join(path.read_bytes() for path in service.log.parent.glob("tacit.db*"))
    return {found.decode() for found in CANARY.findall(stored + bytes(recorder.passed))}


async def test_database_and_traffic_hold_references_only(service: Server, s3: S3) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    recorder = Recorder(service.address)
    async with recorder as address:
        client = await connected(address, bucket)
        async with working(client, queue):
            handle = await use_everything(client, queue)
            schedule = await client.create_schedule(
                f"{queue}-schedule",
                Schedule(
                    action=ScheduleActionStartWorkflow(
                        Child.run,
                        large("schedule-input"),
                        id=f"{queue}-scheduled",
                        task_queue=queue,
                        memo={"note": large("schedule-action-memo")},
                        static_summary=large("schedule-action-summary"),
                    ),
                    spec=ScheduleSpec(),
                ),
                trigger_immediately=True,
                memo={"note": large("schedule-memo")},
            )
            assert await (await schedule.describe()).memo_value("note") == large("schedule-memo")
            async with asyncio.timeout(30):
                while not (actions := (await schedule.describe()).info.recent_actions):
                    await asyncio.sleep(0.05)
            [action] = actions
            assert await client.get_workflow_handle(action.action.workflow_id).result() == large(
                "schedule-result"
            )
            await schedule.delete()
            await handle.signal(Everything.tell, large("last-signal"))
            assert await handle.result() == large("output")
        assert not canaries(service, recorder)
        # All that is looked for would have been seen.
        plain = await connected(address, None)
        async with working(plain, queue := uuid.uuid4().hex):
            handle = await use_everything(plain, queue)
            await handle.terminate(large("reason"))
    seen = canaries(service, recorder)
    assert {"canary-input-", "canary-query-result-", "canary-nexus-run-result-", "canary-update-"} < seen
    assert len(seen) > 25, sorted(seen)


async def test_references_outlive_a_reset_and_an_import(service: Server, s3: S3, tmp_path: Path) -> None:
    bucket, queue = s3.bucket(), uuid.uuid4().hex
    client = await connected(service.address, bucket)
    async with working(client, queue):
        handle = await use_everything(client, queue)
        await handle.signal(Everything.tell, large("last-signal"))
        assert await handle.result() == large("output")
        history = await handle.fetch_history()
        first_task = next(
            event.event_id
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
        )
        reset = await client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=queue, run_id=history.run_id),
                workflow_task_finish_event_id=first_task,
                request_id=uuid.uuid4().hex,
            )
        )
        again = client.get_workflow_handle(queue, run_id=reset.run_id)
        assert await again.result() == large("output")
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=client.data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await replayer.replay_workflow(await again.fetch_history())

    # An open run with a reference in its input and memo goes on in another service.
    waiting = await client.start_workflow(
        Everything.run,
        args=[large("continued-input"), "", True],
        id=f"{queue}-moved",
        task_queue=queue,
        memo={"note": large("memo")},
    )
    file = tmp_path / "run.json"
    await asyncio.to_thread(
        tacit, "history", "export", waiting.id, "--file", str(file), "--address", service.address, env={}
    )
    other = tacit_dev(tmp_path)
    await asyncio.to_thread(other.start)
    try:
        await asyncio.to_thread(tacit, "history", "import", str(file), "--address", other.address, env={})
        there = await connected(other.address, bucket)
        async with working(there, queue):
            moved = there.get_workflow_handle_for(Everything.run, waiting.id)
            await moved.signal(Everything.tell, large("last-signal"))
            assert await moved.result() == large("output")
    finally:
        await asyncio.to_thread(other.stop)
