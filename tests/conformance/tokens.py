"""Tokens of tasks that are done: what a worker has that comes too late."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import temporalio.api.nexus.v1 as nexus
import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    ScheduleNexusOperationCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue

from tests.conformance.calling import Caller
from tests.conformance.requests import MINUTE, QUEUE, methods

QUERY_SECONDS = 2.0
"""How long the caller waits whose query nobody answers."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Of a closed workflow's tasks, of an open one's, and of calls that nobody waits for any more."""

    workflow: bytes
    activity: bytes
    open_workflow: bytes
    open_activity: bytes
    query: bytes
    nexus: bytes

    def others(self) -> Mapping[str, bytes]:
        """Those that are sent to every method that takes a token, by what they are."""
        return {
            "of a done workflow task": self.open_workflow,
            "of a done activity task": self.open_activity,
            "of a query that is over": self.query,
            "of a Nexus call that is over": self.nexus,
        }


async def spent_tokens(caller: Caller) -> Tokens:
    """Bring about tasks of all kinds, and their end."""
    closed, opened = _Worker(caller), _Worker(caller)
    workflow, activity = await closed.first_tasks()
    await closed.complete((await closed.poll()).task_token, _close())
    open_workflow, open_activity = await opened.first_tasks()
    query, nexus_call = await opened.query_and_call()
    return Tokens(
        workflow=workflow,
        activity=activity,
        open_workflow=open_workflow,
        open_activity=open_activity,
        query=query,
        nexus=nexus_call,
    )


def start_request(workflow_id: str, queue: TaskQueue | None = None) -> ws.StartWorkflowExecutionRequest:
    """Starts a workflow that nobody works on, unless `queue` has a worker."""
    return ws.StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="demo"),
        task_queue=queue or TaskQueue(name=QUEUE),
        request_id=str(uuid.uuid4()),
        identity="caller",
    )


class _Worker:
    """Of one workflow, on a queue of its own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._workflow_id = f"tokens-{uuid.uuid4()}"
        self._queue = TaskQueue(name=self._workflow_id)

    async def first_tasks(self) -> tuple[bytes, bytes]:
        """Start it, and do its first workflow task and an activity task."""
        await self._caller.named("StartWorkflowExecution", start_request(self._workflow_id, self._queue))
        first = await self.poll()
        await self.complete(first.task_token, self._activity())
        taken = await self._caller.named(
            "PollActivityTaskQueue",
            ws.PollActivityTaskQueueRequest(namespace="default", task_queue=self._queue, identity="worker"),
        )
        assert isinstance(taken, ws.PollActivityTaskQueueResponse)
        await self._caller.named(
            "RespondActivityTaskCompleted",
            ws.RespondActivityTaskCompletedRequest(namespace="default", task_token=taken.task_token),
        )
        return first.task_token, taken.task_token

    async def query_and_call(self) -> tuple[bytes, bytes]:
        """A query whose caller gives up, and a Nexus operation that is done."""
        name = f"tokens-{uuid.uuid4()}"
        target = nexus.EndpointTarget.Worker(namespace="default", task_queue=self._queue.name)
        spec = nexus.EndpointSpec(name=name, target=nexus.EndpointTarget(worker=target))
        await self._caller.named("CreateNexusEndpoint", operator.CreateNexusEndpointRequest(spec=spec))
        await self.complete((await self.poll()).task_token, _nexus_operation(name))
        call = await self._caller.named(
            "PollNexusTaskQueue",
            ws.PollNexusTaskQueueRequest(namespace="default", task_queue=self._queue, identity="worker"),
        )
        assert isinstance(call, ws.PollNexusTaskQueueResponse)
        done = nexus.StartOperationResponse(sync_success=nexus.StartOperationResponse.Sync())
        await self._caller.named(
            "RespondNexusTaskCompleted",
            ws.RespondNexusTaskCompletedRequest(
                namespace="default",
                task_token=call.task_token,
                response=nexus.Response(start_operation=done),
            ),
        )
        await self.complete((await self.poll()).task_token)
        asked = asyncio.create_task(self._ask())
        question = await self.poll()
        await asked
        return question.task_token, call.task_token

    async def _ask(self) -> None:
        request = ws.QueryWorkflowRequest(
            namespace="default",
            execution=WorkflowExecution(workflow_id=self._workflow_id),
            query=WorkflowQuery(query_type="query"),
        )
        try:
            await self._caller.call(methods()["QueryWorkflow"], request, QUERY_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise

    async def poll(self) -> ws.PollWorkflowTaskQueueResponse:
        task = await self._caller.named(
            "PollWorkflowTaskQueue",
            ws.PollWorkflowTaskQueueRequest(namespace="default", task_queue=self._queue, identity="worker"),
        )
        assert isinstance(task, ws.PollWorkflowTaskQueueResponse)
        return task

    async def complete(self, token: bytes, *commands: Command) -> None:
        await self._caller.named(
            "RespondWorkflowTaskCompleted",
            ws.RespondWorkflowTaskCompletedRequest(
                namespace="default", task_token=token, commands=commands, identity="worker"
            ),
        )

    def _activity(self) -> Command:
        return Command(
            command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
            schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
                activity_id="a",
                activity_type=ActivityType(name="demo"),
                task_queue=self._queue,
                start_to_close_timeout=MINUTE,
            ),
        )


def _nexus_operation(endpoint: str) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION,
        schedule_nexus_operation_command_attributes=ScheduleNexusOperationCommandAttributes(
            endpoint=endpoint, service="service", operation="operation"
        ),
    )


def _close() -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
    )
