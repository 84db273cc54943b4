"""What a client does, feature by feature, with a secret in every place that takes one."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.api.batch.v1 import BatchOperationSignal, BatchOperationTermination
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    ResetWorkflowExecutionRequest,
    StartBatchOperationRequest,
)
from temporalio.client import (
    Client,
    NexusOperationFailureError,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.worker import Worker

from tests.canaries.activities import (
    ACTIVITIES,
    LARGE_BYTES,
    DeskHandler,
    complete_later,
    fail,
    fetch,
    fetch_much,
    put_file,
    read_file,
)
from tests.canaries.canary import CANARIES
from tests.canaries.headers import Headers
from tests.canaries.workflows import WORKFLOWS, Desk, Errand, Everything

SHORT = timedelta(seconds=30)
BATCH_SECONDS_MAX = 20
OWN = (
    *("current details", "upserted memo", "timer summary", "activity argument", "activity summary"),
    *("local activity argument", "child argument", "child memo", "child summary", "child details"),
    *("failing activity argument", "failing child argument", "nexus input", "nexus summary"),
    *("nexus workflow input", "refused nexus input", "again", "continue-as-new memo"),
)
"""What a workflow of the kind Everything is given to hide."""


class Run:
    """One client and one queue, for one round of all features; `endpoint` is a Nexus endpoint to the queue."""

    def __init__(self, client: Client, endpoint: str = "") -> None:
        self.client = client
        self.queue = f"q-{uuid.uuid4()}"
        self.endpoint = endpoint
        self.ids: list[str] = []

    def worker(self) -> Worker:
        return Worker(
            self.client,
            task_queue=self.queue,
            workflows=WORKFLOWS,
            activities=ACTIVITIES,
            nexus_service_handlers=[DeskHandler()],
        )

    def name(self) -> str:
        self.ids.append(f"canary-{uuid.uuid4()}")
        return self.ids[-1]


async def make_endpoint(client: Client, queue: str) -> str:
    """A Nexus endpoint to `queue`, by the operator's API."""
    name = f"desk-{uuid.uuid4().hex[:12]}"
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace=client.namespace, task_queue=queue))
    spec = EndpointSpec(name=name, target=target)
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    return name


async def everything(run: Run) -> None:
    """One workflow with all that a workflow can do; memo, headers, user metadata, messages of all kinds."""
    own = CANARIES.new_for(*OWN)
    handle = await run.client.start_workflow(
        Everything.run,
        args=[own, run.endpoint],
        id=run.name(),
        task_queue=run.queue,
        memo={"note": CANARIES.new("memo")},
        static_summary=CANARIES.new("static summary"),
        static_details=CANARIES.new("static details"),
    )
    await handle.signal(Everything.tell, CANARIES.new("signal argument"))
    assert await handle.query(Everything.echo, CANARIES.new("query argument"))
    assert await handle.query("__temporal_workflow_metadata")
    for prefix in ("", "fail", "refuse"):
        with suppress(WorkflowUpdateFailedError):
            await handle.execute_update(
                Everything.change, prefix + CANARIES.new(f"{prefix} update argument".strip())
            )
    await handle.signal(Everything.finish)
    # What follows is continued as new, and ends by cancellation: its Nexus operations are left out there.
    await asyncio.sleep(0.3)
    with suppress(RPCError):
        await run.client.get_workflow_handle(handle.id).terminate(CANARIES.new("termination details"))
    with suppress(WorkflowFailureError):
        await handle.result()


async def failing_workflow(run: Run) -> None:
    with suppress(WorkflowFailureError):
        await run.client.execute_workflow(
            Errand.run,
            args=[CANARIES.new("failing workflow argument"), True],
            id=run.name(),
            task_queue=run.queue,
        )


async def starts_with_messages(run: Run) -> None:
    """Signal-with-start and update-with-start."""
    options: dict[str, Any] = {"task_queue": run.queue}
    handle = await run.client.start_workflow(
        Everything.run,
        args=[CANARIES.new_for(*OWN[:-2]), ""],
        id=run.name(),
        start_signal="tell",
        start_signal_args=[CANARIES.new("signal-with-start argument")],
        **options,
    )
    start = WithStartWorkflowOperation(
        Everything.run,
        args=[CANARIES.new_for(*OWN[:-2]), ""],
        id=run.name(),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        **options,
    )
    await run.client.execute_update_with_start_workflow(
        Everything.change, CANARIES.new("update-with-start argument"), start_workflow_operation=start
    )
    for one in (handle, await start.workflow_handle()):
        await one.signal(Everything.finish)
        await one.result()


async def schedules(run: Run) -> None:
    def action(place: str) -> ScheduleActionStartWorkflow:
        return ScheduleActionStartWorkflow(
            Errand.run,
            args=[CANARIES.new(f"{place} argument"), False],
            id=run.name(),
            task_queue=run.queue,
            memo={"note": CANARIES.new(f"{place} memo")},
            static_summary=CANARIES.new(f"{place} summary"),
            static_details=CANARIES.new(f"{place} details"),
        )

    handle = await run.client.create_schedule(
        run.name(),
        Schedule(action=action("scheduled"), spec=ScheduleSpec()),
        memo={"note": CANARIES.new("schedule memo")},
        trigger_immediately=True,
    )

    def change(given: ScheduleUpdateInput) -> ScheduleUpdate:
        given.description.schedule.action = action("rescheduled")
        return ScheduleUpdate(schedule=given.description.schedule)

    await handle.update(change)
    await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    for _ in range(100):
        if (await handle.describe()).info.num_actions >= 2:
            break
        await asyncio.sleep(0.1)
    assert (await handle.describe()).schedule.action
    await handle.delete()


async def standalone_activities(run: Run) -> None:
    options: dict[str, Any] = {"task_queue": run.queue, "start_to_close_timeout": SHORT}
    await run.client.execute_activity(
        fetch,
        CANARIES.new("standalone activity argument"),
        id=run.name(),
        summary=CANARIES.new("standalone activity summary"),
        **options,
    )
    with suppress(Exception):
        await run.client.execute_activity(
            fail,
            CANARIES.new("failing standalone activity argument"),
            id=run.name(),
            retry_policy=RetryPolicy(maximum_attempts=1),
            **options,
        )


async def asynchronous_completion(run: Run) -> None:
    """An activity that is heartbeaten and completed by somebody else."""
    handle = await run.client.start_activity(
        complete_later,
        CANARIES.new("asynchronous activity argument"),
        id=run.name(),
        task_queue=run.queue,
        start_to_close_timeout=SHORT,
    )
    there = run.client.get_async_activity_handle(
        workflow_id=None, run_id=handle.run_id, activity_id=handle.id
    )
    for _ in range(100):
        try:
            await there.heartbeat(CANARIES.new("asynchronous heartbeat"))
        except RPCError:
            await asyncio.sleep(0.1)  # no worker has it yet
        else:
            break
    await there.complete(CANARIES.new("asynchronous result"))
    await handle.result()


async def standalone_nexus_operations(run: Run) -> None:
    if not run.endpoint:
        return
    desk = run.client.create_nexus_client(service=Desk, endpoint=run.endpoint)
    await desk.execute_operation(
        Desk.ask,
        CANARIES.new("standalone nexus input"),
        id=run.name(),
        summary=CANARIES.new("standalone nexus summary"),
    )
    with suppress(NexusOperationFailureError):
        await desk.execute_operation(
            Desk.refuse, CANARIES.new("refused standalone nexus input"), id=run.name()
        )


async def reset(run: Run) -> None:
    handle = await run.client.start_workflow(
        Errand.run, args=[CANARIES.new("reset argument"), False], id=run.name(), task_queue=run.queue
    )
    await handle.result()
    service = run.client.workflow_service
    await service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=run.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id or ""),
            workflow_task_finish_event_id=3,
            request_id=str(uuid.uuid4()),
        )
    )
    await run.client.get_workflow_handle(handle.id).result()


async def batch(run: Run) -> None:
    """A signal to many, with a payload that the caller encodes, and the end of them."""
    handles = [
        await run.client.start_workflow(
            Everything.run,
            args=[CANARIES.new_for(*OWN[:-2]), ""],
            id=run.name(),
            task_queue=run.queue,
        )
        for _ in range(2)
    ]
    service = run.client.workflow_service
    encoded = run.client.data_converter.encode_wrapper
    for fields in (
        {
            "signal_operation": BatchOperationSignal(
                signal="tell", input=await encoded([CANARIES.new("batch signal argument")])
            )
        },
        {
            "termination_operation": BatchOperationTermination(
                details=await encoded([CANARIES.new("batch termination details")])
            )
        },
    ):
        job = str(uuid.uuid4())
        await service.start_batch_operation(
            StartBatchOperationRequest(
                namespace=run.client.namespace,
                job_id=job,
                reason="canaries",
                executions=[WorkflowExecution(workflow_id=handle.id) for handle in handles],
                **fields,
            )
        )
        for _ in range(BATCH_SECONDS_MAX * 10):
            described = await service.describe_batch_operation(
                DescribeBatchOperationRequest(namespace=run.client.namespace, job_id=job)
            )
            if described.complete_operation_count + described.failure_operation_count >= len(handles):
                break
            await asyncio.sleep(0.1)


async def large_payloads(run: Run) -> None:
    """Above the threshold, so that they lie in the object store, where there is one."""
    text = CANARIES.new("offloaded argument") + secrets.token_hex(LARGE_BYTES)
    await run.client.execute_activity(
        fetch_much, text, id=run.name(), task_queue=run.queue, start_to_close_timeout=SHORT
    )


async def file_handles(run: Run) -> None:
    """A file's content and name, put by one activity and read by another; only where payloads are encrypted."""
    if run.client.data_converter.external_storage is None:
        return
    options: dict[str, Any] = {"task_queue": run.queue, "start_to_close_timeout": SHORT}
    argument = CANARIES.new("argument of what puts a file")
    handle = await run.client.execute_activity(put_file, argument, id=run.name(), **options)
    assert await run.client.execute_activity(read_file, handle, id=run.name(), **options)


FEATURES: tuple[Callable[[Run], Awaitable[None]], ...] = (
    *(everything, failing_workflow, starts_with_messages, schedules, standalone_activities),
    *(asynchronous_completion, standalone_nexus_operations, reset, batch, large_payloads, file_handles),
)


async def _whole(feature: Callable[[Run], Awaitable[None]], run: Run) -> None:
    await feature(run)


async def use_all(client: Client, *, endpoint: str | None = None, queue: str | None = None) -> Run:
    """All features once, side by side. `endpoint`, which leads to `queue`, is made unless it is given."""
    config = client.config()
    config["interceptors"] = [*config["interceptors"], Headers()]
    run = Run(Client(**config))
    run.queue = queue or run.queue
    run.endpoint = await make_endpoint(client, run.queue) if endpoint is None else endpoint
    async with run.worker(), asyncio.TaskGroup() as group:
        for feature in FEATURES:
            group.create_task(_whole(feature, run))
    return run
