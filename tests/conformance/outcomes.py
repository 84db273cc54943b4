"""Calls by hand over gRPC, and how each ended: in a word that two servers can be compared by."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import grpc
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue

from cloud.rpc import Method
from tests.conformance.bad_input import bad_requests
from tests.conformance.requests import MINUTE, QUEUE, About, methods

CALL_SECONDS = 4.0
"""How long a call may take; one that waits for a worker ends so on both servers."""

BUSY_SECONDS = 20.0
"""How long it is tried again where the server says that it is busy (one batch operation at a time)."""

SET_UP_SECONDS = 20.0

GOLDEN = Path(__file__).parent / "goldens" / "bad_input.json"

Outcomes = dict[str, dict[str, str]]
"""By method, by what is wrong: the code's name, and the names of the typed details."""


class Caller:
    """Calls any method of a server at `address` by hand. An async context manager."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> Caller:
        self._channel = grpc.aio.insecure_channel(self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: Method, request: Message, seconds: float = CALL_SECONDS) -> Message:
        """Raises grpc.aio.AioRpcError."""
        stub = self._channel.unary_unary(
            method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=method.response_type.FromString,
        )
        answer: Message = await stub(request, timeout=seconds)
        return answer

    async def named(self, name: str, request: Message) -> Message:
        """Call the method `name`, for setting up."""
        return await self.call(methods()[name], request, SET_UP_SECONDS)

    async def outcome(self, method: Method, request: Message) -> str:
        """How a call ends: the code, and the names of the details."""
        ends_at = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                await self.call(method, request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < ends_at:
                    await asyncio.sleep(0.2)
                    continue
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return "waits"
                return " ".join([error.code().name, *_details(error)])
            return "OK"


def _details(error: grpc.aio.AioRpcError) -> list[str]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Status.FromString(value if isinstance(value, bytes) else value.encode())
            return [detail.type_url.rpartition(".")[2] for detail in status.details]
    return []


async def finished_tokens(caller: Caller) -> tuple[bytes, bytes]:
    """Tokens of a workflow task and of an activity that are done, as their run is."""
    queue = TaskQueue(name=f"tokens-{uuid.uuid4()}")
    await caller.named("StartWorkflowExecution", _start(f"tokens-{uuid.uuid4()}", queue))
    poll = ws.PollWorkflowTaskQueueRequest(namespace="default", task_queue=queue, identity="worker")
    first = await caller.named("PollWorkflowTaskQueue", poll)
    assert isinstance(first, ws.PollWorkflowTaskQueueResponse)
    await caller.named("RespondWorkflowTaskCompleted", _completed(first.task_token, _activity(queue)))
    taken = await caller.named(
        "PollActivityTaskQueue",
        ws.PollActivityTaskQueueRequest(namespace="default", task_queue=queue, identity="worker"),
    )
    assert isinstance(taken, ws.PollActivityTaskQueueResponse)
    await caller.named(
        "RespondActivityTaskCompleted",
        ws.RespondActivityTaskCompletedRequest(namespace="default", task_token=taken.task_token),
    )
    last = await caller.named("PollWorkflowTaskQueue", poll)
    assert isinstance(last, ws.PollWorkflowTaskQueueResponse)
    await caller.named("RespondWorkflowTaskCompleted", _completed(last.task_token, _close()))
    return first.task_token, taken.task_token


def _completed(token: bytes, command: Command) -> ws.RespondWorkflowTaskCompletedRequest:
    return ws.RespondWorkflowTaskCompletedRequest(
        namespace="default", task_token=token, commands=[command], identity="worker"
    )


def _activity(queue: TaskQueue) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
            activity_id="a",
            activity_type=ActivityType(name="demo"),
            task_queue=queue,
            start_to_close_timeout=MINUTE,
        ),
    )


def _close() -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
    )


def _start(workflow_id: str, queue: TaskQueue | None = None) -> ws.StartWorkflowExecutionRequest:
    return ws.StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="demo"),
        task_queue=queue or TaskQueue(name=QUEUE),
        request_id=str(uuid.uuid4()),
        identity="caller",
    )


_OF_A_WORKFLOW = frozenset({"workflow_id", "execution", "workflow_execution", "update_ref", "operations"})


async def outcomes_of(caller: Caller, name: str, tokens: tuple[bytes, bytes]) -> dict[str, str]:
    """How each bad request to the method `name` ends. Each is about a workflow of its own, open, closed or unknown."""
    method = methods()[name]
    found: dict[str, str] = {}
    about_workflow = not _OF_A_WORKFLOW.isdisjoint(method.request_type.DESCRIPTOR.fields_by_name)
    count = len(list(bad_requests(name, About(workflow_id="unknown"))))
    for number in range(count):
        about = await _fresh(caller, tokens, open_workflow=about_workflow)
        label, request = list(bad_requests(name, about))[number]
        found[label] = await caller.outcome(method, request)
        if isinstance(request, ws.CreateWorkflowRuleRequest):  # a namespace has a few at most
            gone = ws.DeleteWorkflowRuleRequest(namespace=request.namespace, rule_id=request.spec.id)
            await caller.outcome(methods()["DeleteWorkflowRule"], gone)
        if about_workflow:
            await _end(caller, about)
    if about_workflow and "sound" in found:
        about = await _fresh(caller, tokens, open_workflow=True)
        await _end(caller, about)
        found["sound, closed workflow"] = await caller.outcome(
            method, dict(bad_requests(name, about))["sound"]
        )
        about = await _fresh(caller, tokens, open_workflow=False)
        found["sound, unknown workflow"] = await caller.outcome(
            method, dict(bad_requests(name, about))["sound"]
        )
    return found


async def _fresh(caller: Caller, tokens: tuple[bytes, bytes], *, open_workflow: bool) -> About:
    about = About(workflow_id=f"about-{uuid.uuid4()}", workflow_token=tokens[0], activity_token=tokens[1])
    if open_workflow:
        await caller.named("StartWorkflowExecution", _start(about.workflow_id))
    return about


async def _end(caller: Caller, about: About) -> None:
    request = ws.TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=about.execution)
    await caller.outcome(methods()["TerminateWorkflowExecution"], request)


async def all_outcomes(address: str) -> Outcomes:
    """How every bad request to every method ends on the server at `address`."""
    async with Caller(address) as caller:
        tokens = await finished_tokens(caller)
        found: Outcomes = {}
        limit = asyncio.Semaphore(8)

        async def one(name: str) -> None:
            async with limit:
                found[name] = await outcomes_of(caller, name, tokens)

        await asyncio.gather(*(one(name) for name in methods()))
    return {name: found[name] for name in methods()}


def golden() -> Outcomes:
    """What the real server answers."""
    loaded: Outcomes = json.loads(GOLDEN.read_text())
    return loaded


def differences(ours: Mapping[str, Mapping[str, str]], real: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each request that the two end differently."""
    return [
        f"{method} | {label} | real: {outcome} | ours: {ours.get(method, {}).get(label, 'not tried')}"
        for method, outcomes in real.items()
        for label, outcome in outcomes.items()
        if ours.get(method, {}).get(label) != outcome
    ]
