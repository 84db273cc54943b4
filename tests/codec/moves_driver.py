"""Sends a payload along every way that Temporal has, and takes notes of who writes and who reads it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import (
    ActivityFailureError,
    Client,
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    StartWorkflowInput,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import HeaderCodecBehavior, RetryPolicy, WorkflowIDConflictPolicy
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    WorkflowSerializationContext,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from codec import EncryptionCodec, KeyRing
from codec.encryption.moves import MOVES
from codec.encryption.tacit_format import OWNER_FIELD
from sdk.describing import ReadsParentsTexts
from tests.codec.moves_app import (
    ACTIVITIES,
    ENDPOINT,
    SOON,
    WORKFLOWS,
    Echo,
    Failing,
    Handler,
    Mover,
    Service,
)

RING = KeyRing.create("moves", key_id="k1")
QUEUE = "moves"
MARK = re.compile(rb"<([a-z-]+)>")


class Recorder:
    """Who wrote and who read each mark, and one ciphertext of each."""

    def __init__(self) -> None:
        self.written: dict[str, set[str]] = {}
        self.read: dict[str, set[str]] = {}
        self.sealed: dict[str, Payload] = {}
        self.readable: set[str] = set()


class RecordingCodec(EncryptionCodec):
    """The codec itself; it only takes notes."""

    recorder: Recorder

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        sealed = await super().encode(payloads)
        for payload, one in zip(payloads, sealed, strict=True):
            for mark in self._marks(payload):
                bound = one.metadata.get(OWNER_FIELD, b"").decode()
                self.recorder.written.setdefault(mark, set()).add(bound)
                self.recorder.sealed[mark] = one
        return sealed

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        opened = await super().decode(payloads)
        reader = self._owner.to_bytes().decode() if self._owner else ""
        for payload in opened:
            for mark in self._marks(payload):
                self.recorder.read.setdefault(mark, set()).add(reader)
        return opened

    def _marks(self, payload: Payload) -> set[str]:
        return {mark.decode() for mark in MARK.findall(payload.data)}


def codec(*, bind_workflow: bool = True) -> RecordingCodec:
    made = RecordingCodec(RING, bind_workflow=bind_workflow)
    made.recorder = Recorder()
    return made


def converter(of: EncryptionCodec) -> DataConverter:
    return DataConverter(
        payload_codec=of, failure_converter_class=DefaultFailureConverterWithEncodedAttributes
    )


class SendsHeader(Interceptor):
    """Gives each start a header."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _SendsHeader(next)


class _SendsHeader(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        header = DataConverter.default.payload_converter.to_payloads(["<header>"])[0]
        if input.id == "mover":
            input.headers = {**input.headers, "header": header}
        return await super().start_workflow(input)


def mover_context(workflow_id: str = "mover") -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace="default", workflow_id=workflow_id)


def activity_context(activity_id: str) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace="default",
        activity_id=activity_id,
        activity_type=None,
        activity_task_queue=None,
        workflow_id="mover",
        workflow_type=None,
        is_local=False,
    )


async def everything(client: Client) -> None:
    """Send a payload along every way."""
    await client.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(
            spec=EndpointSpec(
                name=ENDPOINT,
                target=EndpointTarget(worker=EndpointTarget.Worker(namespace="default", task_queue=QUEUE)),
            )
        )
    )
    await asyncio.gather(mover(client), others(client), scheduled(client), cron(client))
    for workflow_id in ("mover", "child", "scheduled"):
        async for one in client.list_workflows(f"WorkflowId STARTS_WITH '{workflow_id}'"):
            await one.memo()
            description = await client.get_workflow_handle(one.id).describe()
            await description.memo()
            await description.static_summary()


async def mover(client: Client) -> None:
    handle = await client.start_workflow(
        Mover.run,
        "<start-input>",
        id="mover",
        task_queue=QUEUE,
        memo={"memo": "<memo>"},
        static_summary="<summary>",
        static_details="<summary>",
    )
    await handle.query(Mover.ask, "<query-input>")
    await handle.execute_update(Mover.change, "<update-input>")
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Mover.change, "refuse")
    plain = client.get_async_activity_handle(workflow_id="mover", run_id=None, activity_id="async-1")
    told = client.get_async_activity_handle(workflow_id="mover", run_id=None, activity_id="async-2")
    await started(handle, "async-1")
    await plain.heartbeat("<async-heartbeat>")
    await plain.complete("<async-result>")
    await started(handle, "async-2")
    await told.with_context(activity_context("async-2")).complete("<async-result-with-context>")
    await handle.signal(Mover.finish, "<signal-input>")
    await handle.result()


async def started(handle: WorkflowHandle[Any, Any], activity_id: str) -> None:
    """Wait until the worker has given that activity away."""
    async with asyncio.timeout(60):
        while True:
            description = await handle.describe()
            if any(
                one.activity_id == activity_id and one.HasField("last_started_time")
                for one in description.raw_description.pending_activities
            ):
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)


async def others(client: Client) -> None:
    with pytest.raises(WorkflowFailureError):
        await client.execute_workflow(Failing.run, "go", id="failing", task_queue=QUEUE)
    handle = await client.start_workflow(
        Echo.run,
        "<signal-with-start-input> wait",
        id="signalled",
        task_queue=QUEUE,
        start_signal="tell",
        start_signal_args=["<signal-with-start-signal>"],
    )
    await handle.result()
    start = WithStartWorkflowOperation(
        Echo.run,
        "<update-with-start-input>",
        id="updated",
        task_queue=QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await client.execute_update_with_start_workflow(
        Echo.change, "<update-with-start-update>", start_workflow_operation=start
    )
    await client.execute_workflow(Echo.run, "continue", id="continued", task_queue=QUEUE)
    await client.execute_workflow(
        Echo.run,
        "<retry-input> again",
        id="retried",
        task_queue=QUEUE,
        retry_policy=RetryPolicy(initial_interval=SOON),
    )
    reset = await client.start_workflow(Echo.run, "<reset-input> reset", id="reset", task_queue=QUEUE)
    await reset.result()
    completed = [
        event.event_id
        async for event in reset.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id="reset"),
            workflow_task_finish_event_id=completed[-1],
            request_id="again",
            reason="test",
        )
    )
    await client.get_workflow_handle("reset", run_id=answer.run_id).result()
    await client.execute_activity(
        "act", "<standalone-input>", id="alone", task_queue=QUEUE, start_to_close_timeout=timedelta(seconds=9)
    )
    with pytest.raises(ActivityFailureError):
        await client.execute_activity(
            "act", "fail", id="alone", task_queue=QUEUE, start_to_close_timeout=timedelta(seconds=9)
        )

    nexus = client.create_nexus_client(service=Service, endpoint=ENDPOINT)
    await nexus.execute_operation(Service.at_once, "<client-nexus-input>", id="operation")


async def scheduled(client: Client) -> None:
    action = ScheduleActionStartWorkflow(
        Echo.run,
        "<schedule-input> schedule",
        id="scheduled",
        task_queue=QUEUE,
        memo={"memo": "<schedule-memo>"},
        static_summary="<schedule-summary>",
    )
    schedule = await client.create_schedule(
        "schedule", Schedule(action=action, spec=ScheduleSpec()), memo={"memo": "<schedule-own-memo>"}
    )
    for number in (1, 2):
        await schedule.trigger()
        async with asyncio.timeout(60):
            while len((await schedule.describe()).info.recent_actions) < number:
                await asyncio.sleep(0.05)
        runs = (await schedule.describe()).info.recent_actions
        await client.get_workflow_handle(runs[-1].action.workflow_id).result()
        # Ids have the second in them; the second run must not wish for the first one's.
        await asyncio.sleep(1.1)
    await (await schedule.describe()).memo()


async def cron(client: Client) -> None:
    await client.start_workflow(Echo.run, "cron", id="cron", task_queue=QUEUE, cron_schedule="@every 1s")
    async with asyncio.timeout(60):
        while "workflow:cron" not in recorder_of(client).read.get("cron-result", ()):
            await asyncio.sleep(0.05)
    await client.get_workflow_handle("cron").terminate("<terminate-details>")


def recorder_of(client: Client) -> Recorder:
    recording = client.data_converter.payload_codec
    assert isinstance(recording, RecordingCodec)
    return recording.recorder


async def by_hand(recording: RecordingCodec, client: Client) -> None:
    """A codec server's part: the payloads of the CLI and the UI, told of no workflow."""
    to_payloads = DataConverter.default.payload_converter.to_payloads
    await recording.decode(await recording.with_context(mover_context()).encode(to_payloads(["<shown>"])))
    [sealed] = await recording.encode(to_payloads(["<typed-by-hand>"]))
    handle = await client.start_workflow(Echo.run, "wait", id="by-hand", task_queue=QUEUE)
    await client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id="by-hand"),
            signal_name="tell",
            input=Payloads(payloads=[sealed]),
        )
    )
    await handle.result()


async def connected(address: str, of: EncryptionCodec) -> Client:
    return await Client.connect(
        address,
        data_converter=converter(of),
        header_codec_behavior=HeaderCodecBehavior.CODEC,
        interceptors=[SendsHeader(), ReadsParentsTexts(converter(of), "default")],
    )


def worker(client: Client, *, cached: int) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        nexus_service_handlers=[Handler()],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=cached,
    )


async def readable(client: Client) -> set[str]:
    """The marks that stand readable in anything that the service shows of all workflows and schedules."""
    service = client.workflow_service
    executions = await service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace="default"))
    shown: list[Message] = [executions]
    for one in executions.executions:
        request = DescribeWorkflowExecutionRequest(namespace="default", execution=one.execution)
        shown.append(await service.describe_workflow_execution(request))
        history = GetWorkflowExecutionHistoryRequest(namespace="default", execution=one.execution)
        shown.append(await service.get_workflow_execution_history(history))
    schedule = DescribeScheduleRequest(namespace="default", schedule_id="schedule")
    shown.append(await service.describe_schedule(schedule))
    activity = DescribeActivityExecutionRequest(
        namespace="default", activity_id="alone", include_input=True, include_outcome=True
    )
    shown.append(await service.describe_activity_execution(activity))
    assert len(shown) > 30
    found = {mark.decode() for message in shown for mark in MARK.findall(message.SerializeToString())}
    # Ciphertext has something like a short mark now and then.
    return found & {row.name for row in MOVES}
