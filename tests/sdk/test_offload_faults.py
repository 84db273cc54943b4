"""A worker whose object store misbehaves: the task fails and is tried again, the workflow goes on, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import obstore
import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import sdk
from codec import KeyRing
from tests.object_stores import S3, Bucket, Fault, FaultyProxy
from tests.processes import Server, tacit_dev

LARGE = 400_000
WAIT_S = 60.0
UNHANDLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE


BEFORE_RESULT: dict[str, Callable[[int], None]] = {}
"""What happens at the end of the activity, by workflow id: called with the attempt."""


@activity.defn
async def reverse(text: str) -> str:
    info = activity.info()
    BEFORE_RESULT.get(info.workflow_id or "", lambda attempt: None)(info.attempt)
    return text[::-1]


@workflow.defn
class Reversing:
    @workflow.run
    async def run(self, text: str) -> str:
        result: str = await workflow.execute_activity(
            reverse,
            text,
            start_to_close_timeout=timedelta(seconds=60),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=1)
            ),
        )
        return result


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("dev"))
    server.start()
    yield server
    server.stop()


RING = KeyRing.create("faults", key_id="k1")


async def connected(service: Server, bucket: Bucket) -> Client:
    options = sdk.DataConverterOptions(
        namespace="default", key_ring=RING, object_store=bucket.url, object_store_options=bucket.options
    )
    return await Client.connect(service.address, data_converter=sdk.data_converter(options))


async def refusals(client: Client, handle: WorkflowHandle[Any, Any]) -> list[str]:
    """What the workflow's failed tasks say, decrypted."""
    history = await handle.fetch_history()
    failures = [
        event.workflow_task_failed_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    assert all(one.cause == UNHANDLED for one in failures)
    return [str(await client.data_converter.decode_failure(one.failure)) for one in failures]


async def activity_refusals(client: Client, handle: WorkflowHandle[Any, Any]) -> list[str]:
    """What the last failed attempt of the workflow's pending activity says, decrypted."""
    pending = (await handle.describe()).raw_description.pending_activities
    return [
        str(await client.data_converter.decode_failure(one.last_failure))
        for one in pending
        if one.HasField("last_failure")
    ]


async def goes_wrong(
    service: Server, s3: S3, *, fault: Fault | str, said: str, place: str = "workflow task"
) -> None:
    """Run a workflow whose worker's store does wrong until the failure is seen; then it completes."""
    bucket, queue, text = s3.bucket(), uuid.uuid4().hex, os.urandom(LARGE).hex()
    async with FaultyProxy(s3) as proxy:
        direct, client = await connected(service, bucket), await connected(service, bucket.through(proxy))
        handle = await direct.start_workflow(Reversing.run, text, id=queue, task_queue=queue)
        [(path, _)] = bucket.objects().items()
        content = bytes(obstore.get(bucket.store(), path).bytes())

        def wrong(attempt: int = 1) -> None:
            if attempt > 1:
                return
            match fault:
                case "lost":
                    obstore.delete(bucket.store(), path)
                case "cut":
                    obstore.put(bucket.store(), path, content[:-1])
                case Fault():
                    proxy.faults.append(fault)

        if place == "workflow task":
            wrong()
        else:
            BEFORE_RESULT[queue] = wrong
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Reversing],
            activities=[reverse],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            seen = refusals if place == "workflow task" else activity_refusals
            async with asyncio.timeout(WAIT_S):
                while not (failures := await seen(direct, handle)):
                    await asyncio.sleep(0.05)
            assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
            proxy.faults.clear()
            if isinstance(fault, str):
                obstore.put(bucket.store(), path, content)
            async with asyncio.timeout(WAIT_S):
                assert await handle.result() == text[::-1]
    assert said in failures[0]
    assert "\n" not in failures[0]


async def test_workflows_outlive_their_store_s_faults(service: Server, s3: S3) -> None:
    """At the same time, as a failed workflow task waits for ten seconds before it is tried again."""
    reads, writes = ("GET",), ("PUT", "POST")
    async with asyncio.TaskGroup() as group:
        for fault, said in (
            (Fault(methods=reads, status=403, code="AccessDenied"), "credentials the right"),
            (Fault(methods=writes, status=403, code="AccessDenied"), "credentials the right"),
            (Fault(methods=writes, status=507, code="InsufficientStorage"), "The store is full"),
            (Fault(methods=reads, status=503, code="SlowDown"), "could not be read from"),
            (Fault(methods=reads, close=True), "could not be read from"),
            (Fault(methods=writes, close=True), "could not be written to"),
            (Fault(methods=reads, truncate_to=1000), "could not be read from"),
            (Fault(methods=reads, change=lambda body: body[::-1]), "another SHA-256 than its name"),
            ("lost", "It was deleted while its payload was still referred to"),
            ("cut", "bytes, and"),
        ):
            group.create_task(goes_wrong(service, s3, fault=fault, said=said))
        for fault, said in (
            (Fault(methods=writes, status=403, code="AccessDenied"), "credentials the right"),
            (Fault(methods=writes, close=True), "could not be written to"),
        ):
            group.create_task(goes_wrong(service, s3, fault=fault, said=said, place="activity"))
